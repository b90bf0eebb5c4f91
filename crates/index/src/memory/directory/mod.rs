//! The directory: the distinct codes of each length with their images, the images of each label, id
//! and value of a field, and the codes of each image. Immutable; the sum of its segments. A commit
//! makes a new one.

use std::{ops::RangeInclusive, sync::Arc};

use crate::{
    code::{HashCode, Length},
    memory::{
        ball::{Ball, sign, signed},
        codes::Codes,
        column::Column,
        filter::{Changed, FilterCache},
        image_set::ImageSet,
        passing::Passing,
        probe::{Kind, Probe, near::NearWord},
        segment::{NetPostings, Segment},
    },
    types::{
        error::{IndexError, list_lengths},
        field::{Field, FieldType, word},
    },
};

/// The searchable directory of one generation.
#[derive(Clone, Debug)]
pub struct Directory {
    /// The kinds of columns: codes by ascending length, then labels, ids and fields.
    kinds: Arc<[Kind]>,
    /// The fields, in the order of their columns.
    fields: Arc<[Field]>,
    /// Oldest first.
    segments: Vec<Arc<Segment>>,
    /// The number of distinct words of each column.
    distinct: Vec<u64>,
    images: u64,
    codes: Codes,
    /// What filters let through. Shared by the directories that commits make of one another.
    cache: Arc<FilterCache>,
    /// The number of commits since the cache was new.
    version: u64,
}

impl Directory {
    /// Creates an empty directory.
    pub fn new(lengths: &[Length], fields: Arc<[Field]>) -> Self {
        let kinds = lengths.iter().copied().map(Kind::Codes);
        let kinds = kinds.chain([Kind::Labels, Kind::Ids]);
        let kinds: Arc<[Kind]> = kinds.chain(fields.iter().map(|_| Kind::Field)).collect();
        Directory {
            segments: Vec::new(),
            distinct: vec![0; kinds.len()],
            codes: Codes::new(lengths.iter().copied()),
            kinds,
            fields,
            images: 0,
            cache: Arc::default(),
            version: 0,
        }
    }

    /// A directory of the same images with other code lengths, none of which has codes yet.
    pub fn without_codes(&self, lengths: &[Length]) -> Self {
        let mut directory = Directory::new(lengths, self.fields.clone());
        let segments = self.segments.iter();
        let segments = segments.map(|segment| Arc::new(segment.without_codes(&directory.kinds)));
        directory.segments = segments.collect();
        directory
    }

    /// The directory with other fields. A field that it already has keeps its values; any other one
    /// has none yet.
    pub fn with_fields(&self, fields: Arc<[Field]>) -> Self {
        let first = self.fields_column();
        let kinds = self.kinds[..first].iter().copied();
        let kinds: Arc<[Kind]> = kinds.chain(fields.iter().map(|_| Kind::Field)).collect();
        let from = fields.iter().map(|field| self.field_column(field.number));
        let from: Vec<Option<usize>> = from.collect();
        let segments = self.segments.iter();
        let segments = segments.map(|segment| Arc::new(segment.with_fields(first, &from)));
        let mut distinct = self.distinct.clone();
        distinct.resize(kinds.len(), 0);
        Directory {
            segments: segments.collect(),
            kinds,
            fields,
            distinct,
            cache: Arc::default(),
            version: 0,
            ..self.clone()
        }
    }

    /// The fields, in the order of their columns.
    pub fn fields(&self) -> &Arc<[Field]> {
        &self.fields
    }

    /// The index of the column of labels.
    fn labels_column(&self) -> usize {
        self.ids_column() - 1
    }

    fn ids_column(&self) -> usize {
        self.fields_column() - 1
    }

    fn fields_column(&self) -> usize {
        self.kinds.len() - self.fields.len()
    }

    /// The index of the column of the field with a number.
    pub fn field_column(&self, number: u32) -> Option<usize> {
        let at = self
            .fields
            .iter()
            .position(|field| field.number == number)?;
        Some(self.fields_column() + at)
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
        let codes = self.codes.with(&self.kinds, &segment);
        self.with_codes(segment, distinct, images, codes)
    }

    /// The same, given the codes of all images after the segment.
    pub fn with_codes(
        &self,
        segment: Arc<Segment>,
        distinct: Vec<u64>,
        images: u64,
        codes: Codes,
    ) -> Self {
        let mut segments = self.segments.clone();
        segments.push(segment);
        Directory {
            kinds: self.kinds.clone(),
            fields: self.fields.clone(),
            segments,
            distinct,
            images,
            codes,
            cache: Arc::default(),
            version: 0,
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

    /// The codes of each image.
    pub fn image_codes(&self) -> &Codes {
        &self.codes
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
        self.all() as u64 == self.images
    }

    /// The number of images, with or without codes.
    pub fn all(&self) -> usize {
        let ids = self.columns(self.ids_column()).into_iter().enumerate();
        let known = ids.map(|(list, column)| signed(column.len(), sign(list)));
        usize::try_from(known.sum::<i64>()).unwrap_or(0)
    }

    /// A number above the sequence numbers of all images.
    fn end(&self) -> usize {
        let ids = self.columns(self.ids_column()).into_iter();
        ids.map(Column::end).max().unwrap_or(0)
    }

    /// The memory that it takes, in bytes.
    pub fn bytes(&self) -> usize {
        let segments = self.segments.iter().map(|segment| segment.bytes());
        segments.sum::<usize>() + self.codes.bytes() + self.cache.bytes()
    }

    /// The images that have a word in a column, ascending.
    fn find(&self, at: usize, word: u64) -> NetPostings<'_> {
        let columns = self.columns(at).into_iter().enumerate();
        let lists = columns.map(|(list, column)| (column.find(word), sign(list)));
        NetPostings::new(lists.filter(|(postings, _)| !postings.is_empty()).collect())
    }

    /// The images whose id has this hash. Different ids may share a hash.
    pub fn with_id(&self, hash: u32) -> impl Iterator<Item = u32> {
        self.find(self.ids_column(), hash.into()).positive()
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
        let counts = self.counts(self.labels_column());
        counts.map(|(label, images)| (label as u32, images))
    }

    /// The number of images that have a name as a label, and in each field as a keyword; an image
    /// counts once for each of these.
    pub fn count_named(&self, name: u32) -> usize {
        let labelled = self.find(self.labels_column(), name.into()).remaining();
        let fields = (self.fields_column()..).zip(self.fields.iter());
        let fields = fields.filter(|(_, field)| field.kind == FieldType::Keyword);
        let fields = fields.map(|(at, _)| self.find(at, word::of_keyword(name)).remaining());
        labelled + fields.sum::<usize>()
    }

    /// All codes of a length as words, ascending, each with its number of images.
    ///
    /// # Errors
    /// As [`column_of`](Self::column_of).
    pub fn codes(&self, length: Length) -> Result<impl Iterator<Item = (u64, u64)>, IndexError> {
        Ok(self.counts(self.column_of(length)?))
    }

    /// The images that have any label of these numbers.
    pub fn labelled(&self, labels: &[RangeInclusive<u64>]) -> ImageSet {
        self.having(self.labels_column(), labels)
    }

    /// The images that have a value of a field in one of some ranges of words; empty if there is no
    /// such field.
    pub fn with_values(&self, field: u32, words: &[RangeInclusive<u64>]) -> ImageSet {
        let column = self.field_column(field);
        column.map_or(ImageSet::EMPTY, |column| self.having(column, words))
    }

    /// The number of images that have a value of a field in a range of words, once for each value.
    pub fn count_values(&self, field: u32, words: &RangeInclusive<u64>) -> usize {
        let columns = self.field_column(field).map(|at| self.columns(at));
        let lists = columns.into_iter().flatten().enumerate();
        let counts = lists.map(|(list, column)| signed(column.within(words).len(), sign(list)));
        usize::try_from(counts.sum::<i64>()).unwrap_or(0)
    }

    /// The images that have a value of a field with a word, ascending.
    pub fn with_value(&self, field: u32, word: u64) -> impl Iterator<Item = u32> {
        let found = self
            .field_column(field)
            .map(|at| self.find(at, word).positive());
        found.into_iter().flatten()
    }

    /// The words of a field within a range, in order. Also words that no image has any more.
    pub fn words_within(
        &self,
        field: u32,
        range: &RangeInclusive<u64>,
        is_descending: bool,
    ) -> impl Iterator<Item = u64> {
        let columns = self.field_column(field).map(|at| self.columns(at));
        let columns = columns.into_iter().flatten();
        let mut lists: Vec<&[u64]> = columns.map(|column| column.words().within(range)).collect();
        std::iter::from_fn(move || {
            let word = if is_descending {
                *lists.iter().filter_map(|words| words.last()).max()?
            } else {
                *lists.iter().filter_map(|words| words.first()).min()?
            };
            for words in &mut lists {
                *words = if is_descending {
                    &words[..words.partition_point(|other| *other < word)]
                } else {
                    &words[words.partition_point(|other| *other <= word)..]
                };
            }
            Some(word)
        })
    }

    /// The values of a field that passing images have, as pairs of word and image in any order.
    pub fn values_of(&self, field: u32, passing: &Passing) -> Vec<(u64, u32)> {
        let columns = self.field_column(field).map(|at| self.columns(at));
        let mut signed: Vec<(u32, u64, i32)> = Vec::new();
        for (list, column) in columns.into_iter().flatten().enumerate() {
            for (word, images) in column
                .iter()
                .filter(|(word, _)| word::VALUES.contains(word))
            {
                let images = images.iter().filter(|image| passing.has(**image));
                signed.extend(images.map(|&image| (image, word, sign(list))));
            }
        }
        signed.sort_unstable_by_key(|&(image, word, _)| (image, word));
        let same = signed.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1));
        let is_there = |same: &&[(u32, u64, i32)]| same.iter().map(|one| one.2).sum::<i32>() > 0;
        same.filter(is_there)
            .map(|same| (same[0].1, same[0].0))
            .collect()
    }

    fn having(&self, at: usize, words: &[RangeInclusive<u64>]) -> ImageSet {
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        for (list, column) in self.columns(at).into_iter().enumerate() {
            let lists = if sign(list) > 0 {
                &mut added
            } else {
                &mut removed
            };
            let postings = words.iter().map(|range| column.within(range));
            lists.extend(postings.filter(|postings| !postings.is_empty()));
        }
        ImageSet::net(&added, &removed, self.end())
    }

    /// All images, with or without codes.
    pub fn every(&self) -> ImageSet {
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        for (list, column) in self.columns(self.ids_column()).into_iter().enumerate() {
            let lists = if sign(list) > 0 {
                &mut added
            } else {
                &mut removed
            };
            lists.push(column.all_postings());
        }
        ImageSet::net(&added, &removed, self.end())
    }

    /// The images that pass, as a set.
    pub fn set_of(&self, passing: &Passing) -> ImageSet {
        match passing.set() {
            Some(set) => set.clone(),
            None => passing.within(&self.every()),
        }
    }

    /// What filters let through, and the version of this directory in it.
    pub fn cache(&self) -> (&FilterCache, u64) {
        (&self.cache, self.version)
    }

    /// Keeps the cache of the directory before a commit, given the images that the commit changed.
    pub fn keep_cache(&mut self, before: &Directory, changed: Changed) {
        self.cache = before.cache.clone();
        self.version = before.version + 1;
        self.cache.commit(self.version, changed);
    }
}

#[cfg(test)]
mod tests;
