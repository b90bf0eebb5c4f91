//! What a filter lets through: a set of images, or all images but those of a set.

use std::sync::OnceLock;

use crate::{
    code::{HashCode, Length},
    memory::{
        image_set::ImageSet,
        one_by_one::{Gathered, Source},
        selection::{Selection, Span},
    },
};

/// Up to this number of passing images have their codes gathered.
const MAX_GATHERED: usize = 1 << 15;
/// Up to this number of gathered codes are compared in a few microseconds.
const MAX_WITHOUT_BALL: usize = 1 << 12;
/// If at most this share of all images pass, they are listed instead of the others.
const SMALL_SHARE: usize = 32;

/// The images that pass a filter: those of a set, or all others.
#[derive(Clone, Debug)]
pub struct Passing {
    set: ImageSet,
    is_negated: bool,
    len: usize,
    /// The codes of few images, for each length that was searched.
    gathered: [OnceLock<Gathered>; Length::ALL.len()],
}

impl Passing {
    /// All images.
    pub fn all(images: usize) -> Self {
        Passing {
            set: ImageSet::EMPTY,
            is_negated: true,
            len: images,
            gathered: Default::default(),
        }
    }

    /// The images of a set; `all` is the number of all images.
    pub fn of(set: ImageSet, is_negated: bool, all: usize) -> Self {
        let len = set.len();
        Passing {
            set: set.fitted(len),
            is_negated,
            len: if is_negated {
                all.saturating_sub(len)
            } else {
                len
            },
            gathered: Default::default(),
        }
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns true if an image passes. The image must exist.
    #[inline]
    pub fn has(&self, image: u32) -> bool {
        self.set.has(image) != self.is_negated
    }

    /// Makes images pass or not; `None` if an image is deleted, which then is in no set. `all` is
    /// the number of all images.
    pub fn change(&mut self, images: impl Iterator<Item = (u32, Option<bool>)>, all: usize) {
        for (image, passes) in images {
            let is_in = passes.is_some_and(|passes| passes != self.is_negated);
            self.set.set(image, is_in);
        }
        let set = std::mem::replace(&mut self.set, ImageSet::EMPTY);
        *self = Passing::of(set, self.is_negated, all);
    }

    /// The number of images in a list that pass. They must exist.
    pub fn count_in(&self, images: &[u32]) -> usize {
        let count = match &self.set {
            ImageSet::List(_) => images.iter().filter(|image| self.set.has(**image)).count(),
            ImageSet::Bits(words) => {
                let bits = images.iter().map(|&image| {
                    let word = words.get(image as usize / 64).copied().unwrap_or(0);
                    (word >> (image % 64) & 1) as usize
                });
                bits.sum()
            }
        };
        if self.is_negated {
            images.len() - count
        } else {
            count
        }
    }

    /// Returns true if they are few of `all` images.
    pub fn is_small_in(&self, all: usize) -> bool {
        self.len <= all / SMALL_SHARE
    }

    /// Returns true if it is faster to read the codes of its images than to look up each image of a
    /// ball in its set.
    pub fn is_worth_reading(&self, ball: u64) -> bool {
        if self.is_negated {
            return false;
        }
        // Gathered codes and bits are in the processor's cache. Other codes are read from memory,
        // and a list is searched.
        let read = if self.is_gathered() { 1 } else { 16 };
        let lookup = match self.set {
            ImageSet::List(_) => 16,
            ImageSet::Bits(_) => 1,
        };
        read * self.len as u64 <= lookup * ball
    }

    /// Returns true if comparing their gathered codes takes no longer than finding a ball.
    pub fn are_few(&self) -> bool {
        self.is_gathered() && self.len <= MAX_WITHOUT_BALL
    }

    /// Returns true if their codes are gathered for searches.
    pub fn is_gathered(&self) -> bool {
        self.len <= MAX_GATHERED && !self.is_negated
    }

    /// Selects a span of them within a radius, by distance, then code, then age. Keeps the codes of
    /// few images, so that the next search reads them in order. `None` if the set has the images
    /// that do not pass.
    pub fn select(
        &self,
        source: Source,
        code: &HashCode,
        radius: u32,
        span: Span,
    ) -> Option<Selection> {
        let set = self.set()?;
        Some(match self.gathered.get(source.at) {
            Some(gathered) if self.is_gathered() => {
                let gathered = gathered.get_or_init(|| source.gather(set));
                gathered.select(code, radius, span)
            }
            _ => source.select(set, code, radius, span),
        })
    }

    /// The images, unless they are all but those of a set.
    pub fn set(&self) -> Option<&ImageSet> {
        (!self.is_negated).then_some(&self.set)
    }

    /// The images of a set that pass; the set has all that may.
    pub fn within(&self, every: &ImageSet) -> ImageSet {
        if self.is_negated {
            every.minus(&self.set)
        } else {
            self.set.clone()
        }
    }

    /// The images that do not pass. `all` is the number of all images.
    pub fn negated(&self, all: usize) -> Self {
        Passing {
            set: self.set.clone(),
            is_negated: !self.is_negated,
            len: all.saturating_sub(self.len),
            gathered: Default::default(),
        }
    }

    /// The images that pass both.
    pub fn and(&self, other: &Self, all: usize) -> Self {
        let (a, b) = (&self.set, &other.set);
        let (set, is_negated) = match (self.is_negated, other.is_negated) {
            (false, false) => (a.and(b), false),
            (false, true) => (a.minus(b), false),
            (true, false) => (b.minus(a), false),
            (true, true) => (a.or(b), true),
        };
        Passing::of(set, is_negated, all)
    }

    /// The images that pass either.
    pub fn or(&self, other: &Self, all: usize) -> Self {
        let neither = self.negated(all).and(&other.negated(all), all);
        neither.negated(all)
    }

    /// The memory that it takes, in bytes.
    pub fn bytes(&self) -> usize {
        let gathered = self.gathered.iter().filter_map(OnceLock::get);
        self.set.bytes() + gathered.map(Gathered::bytes).sum::<usize>()
    }
}
