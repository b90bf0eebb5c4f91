//! The directory: the distinct codes of each length with their images, and the images of each label
//! and id. Immutable; the sum of its segments. A commit makes a new one.

use std::sync::Arc;

use crate::{
    code::{HashCode, Length},
    memory::{
        ball::{Ball, sign, signed},
        column::Column,
        filter::Filter,
        probe::{Kind, Probe, near::NearWord},
        segment::{NetPostings, Segment},
    },
    types::error::{IndexError, list_lengths},
};

/// The searchable directory of one generation.
#[derive(Clone, Debug)]
pub struct Directory {
    /// The kinds of columns: codes by ascending length, then labels, then ids.
    kinds: Arc<[Kind]>,
    /// Oldest first.
    segments: Vec<Arc<Segment>>,
    /// The number of distinct words of each column.
    distinct: Vec<u64>,
    images: u64,
}

impl Directory {
    /// Creates an empty directory.
    pub fn new(lengths: &[Length]) -> Self {
        let codes = lengths.iter().copied().map(Kind::Codes);
        let kinds: Arc<[Kind]> = codes.chain([Kind::Labels, Kind::Ids]).collect();
        Directory {
            segments: Vec::new(),
            distinct: vec![0; kinds.len()],
            kinds,
            images: 0,
        }
    }

    /// A directory of the same images with other code lengths, none of which has codes yet.
    pub fn without_codes(&self, lengths: &[Length]) -> Self {
        let mut directory = Directory::new(lengths);
        let segments = self.segments.iter();
        let segments = segments.map(|segment| Arc::new(segment.without_codes(&directory.kinds)));
        directory.segments = segments.collect();
        directory
    }

    /// The kind of each column.
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// The number of distinct words of each column after adding a segment.
    pub fn distinct_after(&self, segment: &Segment) -> Vec<u64> {
        let mut distinct = self.distinct.clone();
        for (at, distinct) in distinct.iter_mut().enumerate() {
            let (added, removed) = (&segment.added[at], &segment.removed[at]);
            if self.segments.is_empty() {
                *distinct = added.words().len() as u64;
            } else if matches!(self.kinds[at], Kind::Codes(_)) {
                let only_removed = removed
                    .iter()
                    .filter(|(word, _)| added.find(*word).is_empty());
                for (word, _) in added.iter().chain(only_removed) {
                    let before = self.find(at, word).remaining();
                    let after = before + added.find(word).len() - removed.find(word).len();
                    *distinct = *distinct + u64::from(after > 0) - u64::from(before > 0);
                }
            }
        }
        distinct
    }

    /// Adds a segment. `distinct` and `images` are the counts after it.
    pub fn with(&self, segment: Arc<Segment>, distinct: Vec<u64>, images: u64) -> Self {
        let mut segments = self.segments.clone();
        segments.push(segment);
        Directory {
            kinds: self.kinds.clone(),
            segments,
            distinct,
            images,
        }
    }

    /// Replaces neighbouring segments by their merged one, wherever they are now.
    pub fn merged(&self, parts: &[Arc<Segment>], merged: Arc<Segment>) -> Self {
        let mut directory = self.clone();
        let is_first = |segment: &Arc<Segment>| {
            parts
                .first()
                .is_some_and(|first| Arc::ptr_eq(first, segment))
        };
        if let Some(at) = directory.segments.iter().position(is_first) {
            directory.segments.splice(at..at + parts.len(), [merged]);
        }
        directory
    }

    /// Its segments, oldest first.
    pub fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    /// The number of images that have codes.
    pub fn images(&self) -> u64 {
        self.images
    }

    /// The number of distinct codes of each length.
    pub fn distinct(&self) -> impl Iterator<Item = (Length, u64)> {
        let columns = self.kinds.iter().zip(&self.distinct);
        columns.filter_map(|(kind, &distinct)| match kind {
            Kind::Codes(length) => Some((*length, distinct)),
            _ => None,
        })
    }

    /// Returns true if every image has codes.
    pub fn is_coded(&self) -> bool {
        let ids = self.columns(self.kinds.len() - 1).into_iter().enumerate();
        let known: i64 = ids
            .map(|(list, column)| signed(column.len(), sign(list)))
            .sum();
        u64::try_from(known) == Ok(self.images)
    }

    /// The memory that it takes, in bytes.
    pub fn bytes(&self) -> usize {
        self.segments.iter().map(|segment| segment.bytes()).sum()
    }

    /// The images that have a word in a column, ascending.
    fn find(&self, at: usize, word: u64) -> NetPostings<'_> {
        let columns = self.columns(at).into_iter().enumerate();
        let lists = columns.map(|(list, column)| (column.find(word), sign(list)));
        NetPostings::new(lists.filter(|(postings, _)| !postings.is_empty()).collect())
    }

    /// The images whose id has this hash. Different ids may share a hash.
    pub fn with_id(&self, hash: u32) -> impl Iterator<Item = u32> {
        self.find(self.kinds.len() - 1, hash.into()).positive()
    }

    /// The lists of one column: added postings at even indices, removed ones at odd.
    fn columns(&self, at: usize) -> Vec<&Column> {
        self.segments
            .iter()
            .flat_map(|segment| [&*segment.added[at], &*segment.removed[at]])
            .collect()
    }

    /// Returns the index of the column with the codes of a length.
    ///
    /// # Errors
    /// [`IndexError::NoSuchLength`] if there is none.
    pub fn column_of(&self, length: Length) -> Result<usize, IndexError> {
        let is_column = |&kind: &Kind| kind == Kind::Codes(length);
        let no_such_length = || IndexError::NoSuchLength {
            given: length,
            expected: list_lengths(self.distinct().map(|(length, _)| length)),
        };
        self.kinds
            .iter()
            .position(is_column)
            .ok_or_else(no_such_length)
    }

    /// The images within a radius.
    ///
    /// # Errors
    /// As [`column_of`](Self::column_of).
    pub fn within(&self, code: &HashCode, radius: u32) -> Result<Ball<'_>, IndexError> {
        let columns = self.columns(self.column_of(code.length())?);
        let radius = radius.min(code.length().max_distance());
        let mut near = Vec::new();
        for (list, column) in (0..).zip(&columns) {
            let start = near.len();
            Probe::new(column.words(), code.word()).reach(radius, radius, &mut near);
            near[start..].iter_mut().for_each(|near| near.list = list);
        }
        Ok(Ball {
            length: code.length(),
            columns,
            near,
        })
    }

    /// The smallest ball with at least `enough` images, or with all images.
    ///
    /// # Errors
    /// As [`column_of`](Self::column_of).
    pub fn nearest(&self, code: &HashCode, enough: u64) -> Result<Ball<'_>, IndexError> {
        // Most queries have near neighbours, and small balls are cheap.
        for radius in [0, 2] {
            let ball = self.within(code, radius)?;
            if ball.total() >= enough {
                return Ok(ball);
            }
        }
        let columns = self.columns(self.column_of(code.length())?);
        let mut probes: Vec<Probe> = columns
            .iter()
            .map(|column| Probe::new(column.words(), code.word()))
            .collect();
        // A removed posting may cancel a counted one, so the target is raised by the number of
        // removed ones.
        let removed = columns
            .iter()
            .skip(1)
            .step_by(2)
            .map(|column| column.len() as u64);
        let enough = enough.saturating_add(removed.sum());
        let most = code.length().max_distance();
        let (mut near, mut bound) = (Vec::<NearWord>::new(), most);
        let mut at_distance = [0u64; 64];
        for radius in 0..=most {
            for (list, (probe, column)) in (0..).zip(probes.iter_mut().zip(&columns)) {
                let start = near.len();
                probe.reach(radius, bound, &mut near);
                for found in &mut near[start..] {
                    found.list = list;
                    if list % 2 == 0 {
                        at_distance[found.distance() as usize] +=
                            u64::from(column.count(found.slot));
                    }
                }
                let mut sum = 0;
                bound = (0..bound)
                    .find(|&distance| {
                        sum += at_distance[distance as usize];
                        sum >= enough
                    })
                    .unwrap_or(bound)
                    .max(radius);
            }
            if bound <= radius {
                break;
            }
        }
        near.retain(|found| found.distance() <= bound);
        Ok(Ball {
            length: code.length(),
            columns,
            near,
        })
    }

    /// All images that pass a filter, at any distance. Reads every code in order, which is faster
    /// than probing if a large part of them is needed.
    ///
    /// # Errors
    /// As [`column_of`](Self::column_of).
    pub fn passing(&self, code: &HashCode, filter: &mut Filter) -> Result<Ball<'_>, IndexError> {
        let columns = self.columns(self.column_of(code.length())?);
        let (word, mut near) = (code.word(), Vec::new());
        for (list, column) in (0..).zip(&columns) {
            column.words().each(|slot, other| {
                #[expect(clippy::cast_possible_truncation, reason = "slots are u32 by design")]
                let postings = column.postings(slot as u32);
                if postings.iter().any(|&image| filter.has(image)) {
                    let distance = (word ^ other).count_ones();
                    let mut found = NearWord::new(distance, other, slot);
                    found.list = list;
                    near.push(found);
                }
            });
        }
        Ok(Ball {
            length: code.length(),
            columns,
            near,
        })
    }

    /// Yields every word of a column with its number of images, ascending.
    fn counts(&self, at: usize) -> impl Iterator<Item = (u64, u64)> {
        let columns = self.columns(at).into_iter().enumerate();
        let mut rest: Vec<_> = columns
            .map(|(list, column)| (column.iter().peekable(), sign(list)))
            .collect();
        std::iter::from_fn(move || {
            loop {
                let words = rest.iter_mut().filter_map(|(column, _)| column.peek());
                let word = words.map(|(word, _)| *word).min()?;
                let mut count = 0;
                for (column, sign) in &mut rest {
                    if let Some((_, postings)) = column.next_if(|(other, _)| *other == word) {
                        count += signed(postings.len(), *sign);
                    }
                }
                if let Ok(count @ 1..) = u64::try_from(count) {
                    return Some((word, count));
                }
            }
        })
    }

    /// The numbers of all labels, each with its number of images.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the words of the column of labels are u32 numbers"
    )]
    pub fn labels(&self) -> impl Iterator<Item = (u32, u64)> {
        let counts = self.counts(self.kinds.len() - 2);
        counts.map(|(label, images)| (label as u32, images))
    }

    /// The number of images that have a label.
    pub fn count_labelled(&self, label: u32) -> usize {
        self.find(self.kinds.len() - 2, label.into()).remaining()
    }

    /// All codes of a length as words, ascending, each with its number of images.
    ///
    /// # Errors
    /// As [`column_of`](Self::column_of).
    pub fn codes(&self, length: Length) -> Result<impl Iterator<Item = (u64, u64)>, IndexError> {
        Ok(self.counts(self.column_of(length)?))
    }

    /// The filter for images that have any of these labels.
    pub fn labelled(&self, labels: &[u32]) -> Filter<'_> {
        let labels_column = self.kinds.len() - 2;
        Filter::any(
            labels
                .iter()
                .map(|&label| self.find(labels_column, label.into())),
        )
    }
}

#[cfg(test)]
mod tests;
