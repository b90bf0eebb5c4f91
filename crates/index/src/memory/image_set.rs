//! Sets of images by sequence number. A small set is a list, a large one has a bit for each image.

use std::collections::HashMap;

/// A set is a list if at most this share of the sequence numbers is in it. A larger list would be
/// no slower to read than bits, but each look-up in it is a binary search.
const LIST_SHARE: usize = 1024;

/// Up to this number of images are a list in any case.
const MIN_BITS: usize = 1024;

/// A set of sequence numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageSet {
    /// Ascending.
    List(Vec<u32>),
    /// Word `n / 64` has bit `n % 64` set if `n` is in the set.
    Bits(Vec<u64>),
}

impl ImageSet {
    /// The set of no images.
    pub const EMPTY: ImageSet = ImageSet::List(Vec::new());

    /// The images that are in more `added` lists than `removed` ones. `end` is above all of them.
    pub fn net(added: &[&[u32]], removed: &[&[u32]], end: usize) -> Self {
        let (more, less) = (total(added), total(removed));
        if more <= max_list(end) {
            return Self::net_list(added, removed, more + less);
        }
        let mut words = vec![0; end.div_ceil(64)];
        for &image in added.iter().copied().flatten() {
            insert(&mut words, image);
        }
        if less > 0 {
            let mut removed_words = vec![0; words.len()];
            let mut counts: HashMap<u32, i64> = HashMap::with_capacity(less);
            for &image in removed.iter().copied().flatten() {
                insert(&mut removed_words, image);
                *counts.entry(image).or_default() -= 1;
            }
            for image in added.iter().copied().flatten() {
                if has(&removed_words, *image)
                    && let Some(count) = counts.get_mut(image)
                {
                    *count += 1;
                }
            }
            for (image, count) in counts {
                if count <= 0
                    && let Some(word) = words.get_mut(image as usize / 64)
                {
                    *word &= !(1 << (image % 64));
                }
            }
        }
        ImageSet::Bits(words)
    }

    fn net_list(added: &[&[u32]], removed: &[&[u32]], len: usize) -> Self {
        let mut signed: Vec<(u32, i8)> = Vec::with_capacity(len);
        for (lists, sign) in [(added, 1), (removed, -1)] {
            let images = lists.iter().copied().flatten();
            signed.extend(images.map(|&image| (image, sign)));
        }
        // This sort takes advantage of ascending runs.
        signed.sort_by_key(|&(image, _)| image);
        let same = signed.chunk_by(|a, b| a.0 == b.0);
        let is_in = |same: &&[(u32, i8)]| {
            let signs = same.iter().map(|(_, sign)| i64::from(*sign));
            signs.sum::<i64>() > 0
        };
        ImageSet::List(same.filter(is_in).map(|same| same[0].0).collect())
    }

    /// The set of some images in any order.
    pub fn from_unsorted(mut images: Vec<u32>) -> Self {
        images.sort_unstable();
        images.dedup();
        ImageSet::List(images)
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        match self {
            ImageSet::List(images) => images.len(),
            ImageSet::Bits(words) => words.iter().map(|word| word.count_ones() as usize).sum(),
        }
    }

    /// Returns true if an image is in the set.
    #[inline]
    pub fn has(&self, image: u32) -> bool {
        match self {
            ImageSet::List(images) => images.binary_search(&image).is_ok(),
            ImageSet::Bits(words) => has(words, image),
        }
    }

    /// Calls `visit` with each image, ascending. Faster than [`iter_from`](Self::iter_from).
    pub fn each(&self, mut visit: impl FnMut(u32)) {
        match self {
            ImageSet::List(images) => images.iter().for_each(|&image| visit(image)),
            ImageSet::Bits(words) => {
                for (at, &word) in words.iter().enumerate() {
                    if word != 0 {
                        bits(at, word).for_each(&mut visit);
                    }
                }
            }
        }
    }

    /// The images, ascending, from one on.
    pub fn iter_from(&self, from: u32) -> Box<dyn Iterator<Item = u32> + '_> {
        match self {
            ImageSet::List(images) => {
                let start = images.partition_point(|&image| image < from);
                Box::new(images[start..].iter().copied())
            }
            ImageSet::Bits(words) => {
                let first = from as usize / 64;
                let rest = words.iter().enumerate().skip(first);
                Box::new(rest.flat_map(move |(at, &word)| {
                    let passed = if at == first { from % 64 } else { 0 };
                    bits(at, word >> passed << passed)
                }))
            }
        }
    }

    /// The images in both sets.
    pub fn and(&self, other: &Self) -> Self {
        self.retain(other, true)
    }

    /// The images that are not in the other set.
    pub fn minus(&self, other: &Self) -> Self {
        self.retain(other, false)
    }

    /// The images whose presence in the other set is `wanted`.
    fn retain(&self, other: &Self, wanted: bool) -> Self {
        let list = |images: &[u32], other: &Self| {
            let images = images.iter().copied();
            ImageSet::List(images.filter(|&image| other.has(image) == wanted).collect())
        };
        match (self, other) {
            (ImageSet::List(images), _) => list(images, other),
            (ImageSet::Bits(_), ImageSet::List(images)) if wanted => list(images, self),
            (ImageSet::Bits(words), ImageSet::List(images)) => {
                let mut words = words.clone();
                for image in images {
                    if let Some(word) = words.get_mut(*image as usize / 64) {
                        *word &= !(1 << (image % 64));
                    }
                }
                ImageSet::Bits(words)
            }
            (ImageSet::Bits(words), ImageSet::Bits(others)) => {
                let others = others.iter().copied().chain(std::iter::repeat(0));
                let both = words.iter().zip(others);
                ImageSet::Bits(if wanted {
                    both.map(|(word, other)| word & other).collect()
                } else {
                    both.map(|(word, other)| word & !other).collect()
                })
            }
        }
    }

    /// The images in either set.
    pub fn or(&self, other: &Self) -> Self {
        match (self, other) {
            (ImageSet::List(images), ImageSet::List(others)) => {
                let mut all = images.clone();
                all.extend_from_slice(others);
                all.sort_unstable();
                all.dedup();
                ImageSet::List(all)
            }
            (ImageSet::Bits(words), ImageSet::List(images))
            | (ImageSet::List(images), ImageSet::Bits(words)) => {
                let mut words = words.clone();
                if let Some(&last) = images.last() {
                    let len = words.len().max(last as usize / 64 + 1);
                    words.resize(len, 0);
                }
                images.iter().for_each(|&image| insert(&mut words, image));
                ImageSet::Bits(words)
            }
            (ImageSet::Bits(words), ImageSet::Bits(others)) => {
                let (mut long, short) = if words.len() < others.len() {
                    (others.clone(), words)
                } else {
                    (words.clone(), others)
                };
                long.iter_mut()
                    .zip(short)
                    .for_each(|(to, from)| *to |= from);
                ImageSet::Bits(long)
            }
        }
    }

    /// Adds or removes an image.
    pub fn set(&mut self, image: u32, is_in: bool) {
        match self {
            ImageSet::List(images) => match images.binary_search(&image) {
                Ok(at) if !is_in => drop(images.remove(at)),
                Err(at) if is_in => images.insert(at, image),
                _ => {}
            },
            ImageSet::Bits(words) => {
                let at = image as usize / 64;
                if is_in && words.len() <= at {
                    words.resize(at + 1, 0);
                }
                if let Some(word) = words.get_mut(at) {
                    *word = *word & !(1 << (image % 64)) | u64::from(is_in) << (image % 64);
                }
            }
        }
    }

    /// Returns the set in the form that suits its size; `len` is its size.
    pub fn fitted(self, len: usize) -> Self {
        match self {
            ImageSet::List(images)
                if let Some(&last) = images.last()
                    && len > max_list(last as usize) =>
            {
                let mut words = vec![0; last as usize / 64 + 1];
                images.iter().for_each(|&image| insert(&mut words, image));
                ImageSet::Bits(words)
            }
            ImageSet::Bits(words) if len <= max_list(words.len() * 64) => {
                let words = words.iter().enumerate();
                ImageSet::List(words.flat_map(|(at, &word)| bits(at, word)).collect())
            }
            set => set,
        }
    }

    /// The memory that it takes, in bytes.
    pub fn bytes(&self) -> usize {
        match self {
            ImageSet::List(images) => 4 * images.capacity(),
            ImageSet::Bits(words) => 8 * words.capacity(),
        }
    }
}

/// The maximum number of images in a list, if `end` is above all of them.
fn max_list(end: usize) -> usize {
    end / LIST_SHARE + MIN_BITS
}

fn total(lists: &[&[u32]]) -> usize {
    lists.iter().map(|list| list.len()).sum()
}

fn insert(words: &mut [u64], image: u32) {
    if let Some(word) = words.get_mut(image as usize / 64) {
        *word |= 1 << (image % 64);
    }
}

#[inline]
fn has(words: &[u64], image: u32) -> bool {
    let word = words.get(image as usize / 64);
    word.is_some_and(|word| word >> (image % 64) & 1 == 1)
}

/// The images of the word at an index, ascending.
fn bits(at: usize, mut word: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let bit = word.trailing_zeros();
        word &= word.checked_sub(1)?;
        #[expect(clippy::cast_possible_truncation, reason = "images are u32 numbers")]
        Some(at as u32 * 64 + bit)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::memory::passing::Passing;
    use proptest::prelude::*;

    fn set() -> impl Strategy<Value = (ImageSet, BTreeSet<u32>)> {
        let images = prop::collection::btree_set(0u32..300, 0..120);
        (images, any::<bool>()).prop_map(|(images, is_list)| {
            let list: Vec<u32> = images.iter().copied().collect();
            let mut words = vec![0; 5];
            list.iter().for_each(|&image| insert(&mut words, image));
            let set = if is_list {
                ImageSet::List(list)
            } else {
                ImageSet::Bits(words)
            };
            (set, images)
        })
    }

    fn images(set: &ImageSet) -> BTreeSet<u32> {
        set.iter_from(0).collect()
    }

    proptest! {
        #[test]
        fn sets_are_combined_as_plain_ones((a, plain_a) in set(), (b, plain_b) in set(), from in 0u32..320) {
            prop_assert_eq!(a.len(), plain_a.len());
            prop_assert_eq!(images(&a.and(&b)), &plain_a & &plain_b);
            prop_assert_eq!(images(&a.minus(&b)), &plain_a - &plain_b);
            prop_assert_eq!(images(&a.or(&b)), &plain_a | &plain_b);
            prop_assert_eq!(a.iter_from(from).collect::<Vec<_>>(), plain_a.range(from..).copied().collect::<Vec<_>>());
            prop_assert!((0..320).all(|image| a.has(image) == plain_a.contains(&image)));
            let universe: BTreeSet<u32> = (0..300).collect();
            for (not_a, not_b) in [(false, false), (false, true), (true, false), (true, true)] {
                let plain = |not, plain: &BTreeSet<u32>| if not { &universe - plain } else { plain.clone() };
                let (pa, pb) = (Passing::of(a.clone(), not_a, 300), Passing::of(b.clone(), not_b, 300));
                for (passing, expected) in [
                    (pa.and(&pb, 300), &plain(not_a, &plain_a) & &plain(not_b, &plain_b)),
                    (pa.or(&pb, 300), &plain(not_a, &plain_a) | &plain(not_b, &plain_b)),
                ] {
                    prop_assert_eq!(passing.len(), expected.len());
                    prop_assert!((0..300).all(|image| passing.has(image) == expected.contains(&image)));
                }
            }
        }

        #[test]
        fn the_net_of_lists_is_what_they_add_more_often_than_they_remove(
            lists in prop::collection::vec((prop::collection::btree_set(0u32..300, 0..120), any::<bool>()), 0..5),
        ) {
            let lists: Vec<(Vec<u32>, bool)> = lists.into_iter().map(|(list, adds)| (list.into_iter().collect(), adds)).collect();
            let of = |wanted: bool| -> Vec<&[u32]> {
                lists.iter().filter(|(_, adds)| *adds == wanted).map(|(list, _)| &list[..]).collect()
            };
            let count = |image: u32| -> i32 {
                lists.iter().map(|(list, adds)| i32::from(list.contains(&image)) * if *adds { 1 } else { -1 }).sum()
            };
            let expected: BTreeSet<u32> = (0..300).filter(|&image| count(image) > 0).collect();
            for end in [300, 1_000_000] {
                prop_assert_eq!(&images(&ImageSet::net(&of(true), &of(false), end)), &expected);
            }
        }
    }
}
