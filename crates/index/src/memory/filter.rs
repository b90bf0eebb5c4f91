//! Which images have one of some labels: asked of one image after the other, so that a search reads no more of a label than it needs.
//! Pure; knows nothing of labels but the postings of each.

use crate::memory::segment::NetPostings;

/// One look-up in the lists costs about as much as setting this many bits.
const LOOK_UP: usize = 256;

/// The images that have any of some labels.
#[derive(Clone, Debug)]
pub struct Filter<'a> {
    labels: Vec<Label<'a>>,
    /// How many more are looked up in lists before a bitmap is made.
    left: usize,
    bitmap: Option<Bitmap>,
}

/// The images that have a label.
#[derive(Clone, Debug)]
struct Label<'a> {
    postings: NetPostings<'a>,
    /// Where in each list the last image was looked for.
    places: Vec<usize>,
}

/// A bit for each image, in words of 64.
#[derive(Clone, Debug)]
struct Bitmap(Vec<u64>);

impl<'a> Filter<'a> {
    /// Those of several labels.
    pub fn any(labels: impl Iterator<Item = NetPostings<'a>>) -> Self {
        let label = |postings: NetPostings<'a>| Label {
            places: vec![0; postings.lists().len()],
            postings,
        };
        let mut filter = Filter {
            labels: labels.map(label).collect(),
            left: 0,
            bitmap: None,
        };
        filter.left = (filter.most() + filter.words()) / LOOK_UP;
        filter
    }

    /// How many there are at most: as many as there are if none of them has two of the labels.
    pub fn most(&self) -> usize {
        let labels = self.labels.iter();
        labels.map(|label| label.postings.left()).sum()
    }

    /// How many there are. The images of one label need not be looked at for it.
    pub fn count(&self) -> usize {
        match &self.labels[..] {
            [label] => label.postings.left(),
            _ => {
                let Bitmap(words) = self.bitmap();
                words.iter().map(|word| word.count_ones() as usize).sum()
            }
        }
    }

    /// All of them, ascending.
    pub fn sequences(&self) -> Vec<u32> {
        let labels = self.labels.iter();
        let mut all: Vec<u32> = labels
            .flat_map(|label| label.postings.clone().positive())
            .collect();
        // This sort makes use of the order there is.
        all.sort();
        all.dedup();
        all
    }

    /// Whether an image is one of them. Few are looked up in the lists, quickest in ascending order; for many a bitmap is made.
    pub fn has(&mut self, image: u32) -> bool {
        if let Some(bitmap) = &self.bitmap {
            return bitmap.has(image);
        }
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => self.bitmap = Some(self.bitmap()),
        }
        self.labels.iter_mut().any(|label| label.has(image))
    }

    /// How many words a bitmap has.
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

/// Whether a posting is in a list: an exponential search from the place of the last one on, or a binary one before it.
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
        fn it_is_the_set_of_those_that_are_left(
            // Of each label the images that were added in each segment, and whether the next removes some of them again.
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
                    let removed: Vec<u32> = match removes {
                        true => there.intersection(&images).copied().collect(),
                        false => Vec::new(),
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
            prop_assert!(filter.most() >= expected.len());
            prop_assert_eq!(filter.sequences(), expected.iter().copied().collect::<Vec<_>>());
            let mut looked_up = Filter { left: usize::MAX, ..filter.clone() };
            for image in asked.into_iter().chain(0..320) {
                prop_assert_eq!(filter.has(image), expected.contains(&image), "{}", image);
                prop_assert_eq!(looked_up.has(image), expected.contains(&image), "{}", image);
            }
            prop_assert!(filter.bitmap.is_some() && looked_up.bitmap.is_none());
        }
    }
}
