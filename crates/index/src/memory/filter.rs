//! Filters images by labels. A search asks for one image after the other, so it reads no more of a
//! label's postings than it needs.

use crate::memory::segment::NetPostings;

/// The cost of one look-up in the lists, in bits set in a bitmap.
const LOOKUP_COST_BITS: usize = 256;

/// The images that have any of some labels.
#[derive(Clone, Debug)]
pub struct Filter<'a> {
    labels: Vec<Label<'a>>,
    /// The number of look-ups left before a bitmap is built.
    lookups_left: usize,
    bitmap: Option<Bitmap>,
}

/// The images that have a label.
#[derive(Clone, Debug)]
struct Label<'a> {
    postings: NetPostings<'a>,
    /// The index of the last look-up in each list.
    places: Vec<usize>,
}

/// A bit for each image, in words of 64.
#[derive(Clone, Debug)]
struct Bitmap(Vec<u64>);

impl<'a> Filter<'a> {
    /// Creates the filter for several labels, given the postings of each.
    pub fn any(labels: impl Iterator<Item = NetPostings<'a>>) -> Self {
        let label = |postings: NetPostings<'a>| Label {
            places: vec![0; postings.lists().len()],
            postings,
        };
        let mut filter = Filter {
            labels: labels.map(label).collect(),
            lookups_left: 0,
            bitmap: None,
        };
        filter.lookups_left = (filter.upper_bound() + filter.words()) / LOOKUP_COST_BITS;
        filter
    }

    /// An upper bound of the number of images; exact if no image has two of the labels.
    pub fn upper_bound(&self) -> usize {
        let labels = self.labels.iter();
        labels.map(|label| label.postings.remaining()).sum()
    }

    /// The number of images. Reads no postings if there is only one label.
    pub fn count(&self) -> usize {
        match &self.labels[..] {
            [label] => label.postings.remaining(),
            _ => {
                let Bitmap(words) = self.bitmap();
                words.iter().map(|word| word.count_ones() as usize).sum()
            }
        }
    }

    /// All images, ascending.
    pub fn sequences(&self) -> Vec<u32> {
        let labels = self.labels.iter();
        let mut all: Vec<u32> = labels
            .flat_map(|label| label.postings.clone().positive())
            .collect();
        // This sort takes advantage of the ascending runs.
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Returns true if an image passes. The first look-ups search the lists, fastest in ascending
    /// order; after many of them a bitmap is built.
    pub fn has(&mut self, image: u32) -> bool {
        if let Some(bitmap) = &self.bitmap {
            return bitmap.has(image);
        }
        match self.lookups_left.checked_sub(1) {
            Some(lookups_left) => self.lookups_left = lookups_left,
            None => self.bitmap = Some(self.bitmap()),
        }
        self.labels.iter_mut().any(|label| label.has(image))
    }

    /// The number of words of a bitmap.
    fn words(&self) -> usize {
        let lists = self.labels.iter().flat_map(|label| label.postings.lists());
        let last = lists.filter_map(|(list, _)| list.last()).max();
        last.map_or(0, |&last| last as usize / 64 + 1)
    }

    fn bitmap(&self) -> Bitmap {
        let mut bitmap = Bitmap(vec![0; self.words()]);
        for label in &self.labels {
            let lists = label.postings.lists();
            if lists.iter().all(|(_, sign)| *sign > 0) {
                let images = lists.iter().flat_map(|(list, _)| *list);
                images.for_each(|&image| bitmap.insert(image));
            } else {
                let images = label.postings.clone().positive();
                images.for_each(|image| bitmap.insert(image));
            }
        }
        bitmap
    }
}

impl Bitmap {
    fn insert(&mut self, image: u32) {
        if let Some(word) = self.0.get_mut(image as usize / 64) {
            *word |= 1 << (image % 64);
        }
    }

    fn has(&self, image: u32) -> bool {
        let word = self.0.get(image as usize / 64);
        word.is_some_and(|word| word >> (image % 64) & 1 == 1)
    }
}

impl Label<'_> {
    fn has(&mut self, image: u32) -> bool {
        let lists = self.postings.lists().iter().zip(&mut self.places);
        let net = lists.map(|((list, sign), place)| sign * i32::from(find(list, image, place)));
        net.sum::<i32>() > 0
    }
}

/// Returns true if a list has a posting. Searches exponentially onwards from the last place, or
/// binary before it.
fn find(list: &[u32], posting: u32, place: &mut usize) -> bool {
    let up_to = |at: usize| list.get(at).is_some_and(|&one| one <= posting);
    let within = if up_to(*place) {
        let mut step = 1;
        while up_to(*place + step) {
            step *= 2;
        }
        *place + step / 2..list.len().min(*place + step)
    } else {
        0..*place
    };
    *place = within.start + list[within].partition_point(|&one| one < posting);
    list.get(*place) == Some(&posting)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_filter_is_the_set_of_images_that_have_a_label(
            // For each label: the images added in each segment, and whether the next segment
            // removes some of them.
            labels in prop::collection::vec(
                prop::collection::vec((prop::collection::btree_set(0u32..300, 0..120), any::<bool>()), 0..4),
                0..4,
            ),
            asked in prop::collection::vec(0u32..320, 0..60),
        ) {
            let (mut lists, mut expected) = (Vec::<Vec<(Vec<u32>, i32)>>::new(), BTreeSet::new());
            for segments in labels {
                let (mut of_label, mut there) = (Vec::new(), BTreeSet::new());
                for (images, removes) in segments {
                    let added: Vec<u32> = images.difference(&there).copied().collect();
                    let removed: Vec<u32> = if removes {
                        there.intersection(&images).copied().collect()
                    } else {
                        Vec::new()
                    };
                    there.extend(&added);
                    there.retain(|image| !removed.contains(image));
                    of_label.extend([(added, 1), (removed, -1)]);
                }
                expected.extend(there);
                lists.push(of_label);
            }
            let nets = lists.iter().map(|lists| {
                let lists = lists.iter().map(|(list, sign)| (&list[..], *sign));
                NetPostings::new(lists.collect())
            });
            let mut filter = Filter::any(nets);
            prop_assert_eq!(filter.count(), expected.len());
            prop_assert!(filter.upper_bound() >= expected.len());
            prop_assert_eq!(filter.sequences(), expected.iter().copied().collect::<Vec<_>>());
            let mut looked_up = Filter { lookups_left: usize::MAX, ..filter.clone() };
            for image in asked.into_iter().chain(0..320) {
                prop_assert_eq!(filter.has(image), expected.contains(&image), "{}", image);
                prop_assert_eq!(looked_up.has(image), expected.contains(&image), "{}", image);
            }
            prop_assert!(filter.bitmap.is_some() && looked_up.bitmap.is_none());
        }
    }
}
