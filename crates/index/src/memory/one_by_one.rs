//! Compares the codes of passing images one by one, and selects the nearest.

use multiversion::multiversion;

use crate::{
    code::HashCode,
    memory::{
        codes::Codes,
        image_set::ImageSet,
        probe,
        selection::{Hit, Selection, Span},
    },
};

/// The number of images whose codes are gathered at once.
const BLOCK: usize = 1 << 16;
/// The number of hits kept beyond those wanted before the farthest are dropped.
const MAX_SURPLUS: usize = 4096;

/// Images, ascending, with their codes of one length. Images without codes are left out.
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    images: Vec<u32>,
    words: Vec<u64>,
}

/// Where the codes of a set of images are read.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The codes of all images.
    pub codes: &'a Codes,
    /// The index of the codes' length.
    pub at: usize,
    /// True if all images have codes.
    pub are_coded: bool,
}

impl Source<'_> {
    /// Gathers the codes of a set.
    pub fn gather(self, set: &ImageSet) -> Gathered {
        let mut all = Gathered::default();
        self.blocks(set, &mut |block| {
            all.images.extend_from_slice(&block.images);
            all.words.extend_from_slice(&block.words);
        });
        all
    }

    /// Passes the codes of a set to `each`, in blocks.
    fn blocks(self, set: &ImageSet, each: &mut dyn FnMut(&Gathered)) {
        let mut block = Gathered::default();
        let reader = self.codes.reader(self.at, self.are_coded);
        set.each(|image| {
            if let Some(word) = reader.word(image) {
                block.images.push(image);
                block.words.push(word);
                if block.images.len() == BLOCK {
                    each(&block);
                    block.images.clear();
                    block.words.clear();
                }
            }
        });
        each(&block);
    }

    /// Selects a span of the images of a set within a radius, by distance, then code, then age.
    pub fn select(self, set: &ImageSet, code: &HashCode, radius: u32, span: Span) -> Selection {
        select(|each| self.blocks(set, each), code, radius, span)
    }
}

impl Gathered {
    /// Selects a span of the images within a radius, by distance, then code, then age.
    pub fn select(&self, code: &HashCode, radius: u32, span: Span) -> Selection {
        select(|each| each(self), code, radius, span)
    }

    /// The memory that it takes, in bytes.
    pub fn bytes(&self) -> usize {
        4 * self.images.capacity() + 8 * self.words.capacity()
    }
}

/// Reads all blocks to count distances, and again to select.
fn select(
    blocks: impl Fn(&mut dyn FnMut(&Gathered)),
    code: &HashCode,
    radius: u32,
    span: Span,
) -> Selection {
    let mut at_distance = [0; 64];
    blocks(&mut |block| count(&block.words, code.word(), &mut at_distance));
    let beyond = at_distance.iter_mut().skip(radius as usize + 1);
    beyond.for_each(|count| *count = 0);
    let (farthest, end, mut selection) = span.bounds(&at_distance);
    let Some(farthest) = farthest else {
        return selection;
    };
    let key = |hit: &Hit| (hit.distance, hit.word, hit.sequence);
    let (mut hits, mut near) = (Vec::<Hit>::new(), Vec::new());
    blocks(&mut |block| {
        near.clear();
        probe::near_words(&block.words, code.word(), farthest, &mut near);
        hits.extend(near.iter().map(|near| Hit {
            distance: near.distance(),
            length: code.length(),
            word: near.word(),
            sequence: block.images[near.slot as usize],
        }));
        if hits.len() > end.saturating_add(MAX_SURPLUS) {
            hits.select_nth_unstable_by_key(end, key);
            hits.truncate(end);
        }
    });
    hits.sort_unstable_by_key(key);
    hits.truncate(end);
    hits.drain(..span.offset.min(hits.len()));
    selection.hits = hits;
    selection
}

/// Adds the number of words at each distance.
#[multiversion(targets("x86_64+avx2+bmi2+popcnt", "x86_64+popcnt"))]
fn count(words: &[u64], query: u64, at_distance: &mut [i64; 64]) {
    // Two sets of counters, used alternately: increments of one counter would wait for each other.
    let mut counts = [[0i64; 64]; 2];
    for pair in words.chunks(2) {
        for (counts, word) in counts.iter_mut().zip(pair) {
            counts[(word ^ query).count_ones() as usize & 63] += 1;
        }
    }
    for counts in counts {
        at_distance
            .iter_mut()
            .zip(counts)
            .for_each(|(sum, count)| *sum += count);
    }
}
