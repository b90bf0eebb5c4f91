//! A page of images in the order of distance, code and age, given the number of images at each
//! distance.

use crate::code::Length;

/// An image that a search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The distance of its code to the query's.
    pub distance: u32,
    /// The length of its code.
    pub length: Length,
    /// Its code.
    pub word: u64,
    /// Its sequence number.
    pub sequence: u32,
}

/// A range of images in the order of distance, code and age.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The index of the first image.
    pub offset: usize,
    /// Maximum number of images.
    pub limit: usize,
    /// If the range ends among images of one distance, it is extended to include all of them, but
    /// not beyond this index.
    pub extend_to: usize,
}

/// The images of a span.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// The total number of images, independent of the span.
    pub total: u64,
    /// The images of the span.
    pub hits: Vec<Hit>,
    /// False if the span ends among images of one distance.
    pub complete: bool,
}

/// A span, given the number of images at each distance.
pub struct Window {
    /// True for each distance at which the span has images.
    pub wanted: [bool; 64],
    /// The number of images to skip at the first of these distances.
    pub skip: usize,
    /// Maximum number of images.
    pub limit: usize,
    /// The selection, without its images.
    pub selection: Selection,
}

impl Span {
    /// The span of a page of results.
    pub fn page(offset: usize, limit: usize) -> Self {
        Span {
            offset,
            limit,
            extend_to: 0,
        }
    }

    /// The index after its last image.
    pub fn end(&self) -> usize {
        self.offset.saturating_add(self.limit)
    }

    /// Given the number of images at each distance: the farthest distance at which the span has
    /// images, the index after its last image, and the selection without its hits.
    pub fn bounds(self, at_distance: &[i64; 64]) -> (Option<u32>, usize, Selection) {
        let Window {
            wanted,
            limit,
            selection,
            ..
        } = self.window(at_distance);
        let distances = (0..).zip(wanted.iter().zip(at_distance));
        let farthest = distances
            .filter(|(_, (wanted, count))| **wanted && **count > 0)
            .last();
        let end = self.offset.saturating_add(limit);
        (farthest.map(|(distance, _)| distance), end, selection)
    }

    /// Returns the window of the span.
    pub fn window(self, at_distance: &[i64; 64]) -> Window {
        let Span {
            offset,
            limit,
            extend_to,
        } = self;
        let total: i64 = at_distance.iter().sum();
        let (mut end, mut before, mut skip) = (self.end(), 0, offset);
        let (mut wanted, mut complete) = ([false; 64], true);
        for (distance, &count) in at_distance.iter().enumerate() {
            let after = before + usize::try_from(count).unwrap_or(0);
            if after <= offset {
                skip = offset - after;
            } else {
                wanted[distance] = before < end && limit > 0;
                if wanted[distance] && after > end {
                    end = end.max(after.min(extend_to));
                    complete = after == end;
                }
            }
            before = after;
        }
        Window {
            wanted,
            skip,
            limit: end - offset,
            selection: Selection {
                total: u64::try_from(total).unwrap_or(0),
                hits: Vec::new(),
                complete,
            },
        }
    }
}
