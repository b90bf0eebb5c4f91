//! A segment: the postings that some commits added to the directory and those that they removed.
//! Immutable. The directory is the sum of its segments.

use std::sync::Arc;

use crate::memory::{
    column::{Builder, Column},
    probe::Kind,
};

/// An image in the directory.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its codes as words, one of each length, ascending; or none.
    pub codes: Vec<u64>,
    /// The numbers of its labels.
    pub labels: Vec<u32>,
    /// The hash of its id.
    pub id: u32,
    /// The words of its values in each field.
    pub values: Vec<Vec<u64>>,
    /// When it was first stored, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// When it was last changed, in milliseconds since 1970.
    pub updated_at_ms: u64,
}

impl Entry {
    /// Its words in a column. The columns of the lengths come first, then labels, ids and fields.
    fn words(&self, at: usize, kind: Kind, fields_from: usize) -> Vec<u64> {
        match kind {
            Kind::Codes(_) => self.codes.get(at).copied().into_iter().collect(),
            Kind::Ids => vec![self.id.into()],
            Kind::Labels => {
                let mut labels: Vec<u64> = self.labels.iter().copied().map(u64::from).collect();
                labels.sort_unstable();
                labels.dedup();
                labels
            }
            Kind::Field => (self.values.get(at - fields_from).cloned()).unwrap_or_default(),
        }
    }
}

/// An image before and after a write: inserted, replaced, relabelled or deleted.
#[derive(Debug)]
pub struct Change {
    /// The sequence number of the image.
    pub sequence: u32,
    /// The index of the only field whose words are given, if the rest of the image is unknown and
    /// does not change.
    pub only_field: Option<usize>,
    /// The image before, if it existed.
    pub before: Option<Entry>,
    /// The image after, if it still exists.
    pub after: Option<Entry>,
}

/// The postings of each length's codes, then of labels, ids and fields: those added, and those of
/// earlier segments that are removed.
#[derive(Debug)]
pub struct Segment {
    /// The added postings, a column of each kind, in this order.
    pub added: Vec<Arc<Column>>,
    /// The removed postings, likewise.
    pub removed: Vec<Arc<Column>>,
}

impl Segment {
    /// Builds the segment of a commit.
    pub fn from_changes(kinds: &[Kind], changes: &[Change]) -> Self {
        let fields_from = kinds.len() - count(kinds, Kind::Field);
        let column = |(at, &kind): (usize, &Kind)| {
            let mut signed: Vec<(u64, u32, i32)> = Vec::new();
            for change in changes {
                for (entry, sign) in [(&change.before, -1), (&change.after, 1)] {
                    let words = entry
                        .iter()
                        .flat_map(|entry| entry.words(at, kind, fields_from));
                    signed.extend(words.map(|word| (word, change.sequence, sign)));
                }
            }
            signed.sort_unstable_by_key(|&(word, sequence, _)| (word, sequence));
            let (mut added, mut removed) = (Vec::new(), Vec::new());
            for same in signed.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
                let (word, sequence, _) = same[0];
                match same.iter().map(|(.., sign)| sign).sum::<i32>() {
                    0 => {}
                    1.. => added.push((word, sequence)),
                    _ => removed.push((word, sequence)),
                }
            }
            let column_of = |pairs: &[(u64, u32)]| Arc::new(Column::from_sorted(kind, pairs));
            (column_of(&added), column_of(&removed))
        };
        let (added, removed) = kinds.iter().enumerate().map(column).unzip();
        Segment { added, removed }
    }

    /// Merges neighbouring segments, oldest first.
    pub fn merge(kinds: &[Kind], segments: &[Arc<Segment>]) -> Self {
        let column = |(at, &kind): (usize, &Kind)| {
            let signed: Vec<(&Column, i32)> = segments
                .iter()
                .flat_map(|segment| [(&*segment.added[at], 1), (&*segment.removed[at], -1)])
                .filter(|(column, _)| column.len() > 0)
                .collect();
            let (added, removed) = sum(kind, &signed);
            (added.into(), removed.into())
        };
        let (added, removed) = kinds.iter().enumerate().map(column).unzip();
        Segment { added, removed }
    }

    /// Returns the same images in columns of other code lengths, without codes.
    pub fn without_codes(&self, kinds: &[Kind]) -> Self {
        let columns = |of: &[Arc<Column>]| {
            let codes = kinds.iter().filter(|kind| matches!(kind, Kind::Codes(_)));
            let shared = &of[of.len() - (kinds.len() - codes.clone().count())..];
            let none = |&kind: &Kind| Arc::new(Column::from_sorted(kind, &[]));
            codes.map(none).chain(shared.iter().cloned()).collect()
        };
        Segment {
            added: columns(&self.added),
            removed: columns(&self.removed),
        }
    }

    /// Returns the same images with other fields. `from` has the column of each field; `None` for a
    /// field without values.
    pub fn with_fields(&self, fields_from: usize, from: &[Option<usize>]) -> Self {
        let columns = |of: &[Arc<Column>]| {
            let fields = from.iter().map(|at| match at {
                Some(at) => of[*at].clone(),
                None => Arc::new(Column::from_sorted(Kind::Field, &[])),
            });
            of[..fields_from].iter().cloned().chain(fields).collect()
        };
        Segment {
            added: columns(&self.added),
            removed: columns(&self.removed),
        }
    }

    /// The number of postings in its largest columns, which is about its number of images.
    pub fn len(&self) -> usize {
        let longest = |columns: &[Arc<Column>]| {
            let lengths = columns.iter().map(|column| column.len());
            lengths.max().unwrap_or(0)
        };
        longest(&self.added) + longest(&self.removed)
    }

    /// The memory that it takes, in bytes.
    pub fn bytes(&self) -> usize {
        let columns = self.added.iter().chain(&self.removed);
        columns.map(|column| column.bytes()).sum()
    }
}

/// The number of columns of a kind.
fn count(kinds: &[Kind], wanted: Kind) -> usize {
    kinds.iter().filter(|&&kind| kind == wanted).count()
}

/// Sums `signed` columns: the postings added more often than removed, and those removed more often.
fn sum(kind: Kind, signed: &[(&Column, i32)]) -> (Column, Column) {
    let (mut added, mut removed) = (Builder::new(kind), Builder::new(kind));
    let mut rest: Vec<_> = signed
        .iter()
        .map(|(column, sign)| (column.iter().peekable(), *sign))
        .collect();
    let mut lists = Vec::new();
    loop {
        let words = rest.iter_mut().filter_map(|(column, _)| column.peek());
        let Some(word) = words.map(|(word, _)| *word).min() else {
            return (added.finish(), removed.finish());
        };
        lists.clear();
        for (column, sign) in &mut rest {
            if let Some((_, postings)) = column.next_if(|(other, _)| *other == word) {
                lists.push((postings, *sign));
            }
        }
        match lists[..] {
            [(postings, 1)] => added.push(word, postings.iter().copied()),
            [(postings, _)] => removed.push(word, postings.iter().copied()),
            _ => {
                let net: Vec<(u32, i32)> = NetPostings::new(lists.clone()).collect();
                let with_sign = |sign| net.iter().filter(move |net| net.1 == sign).map(|net| net.0);
                added.push(word, with_sign(1));
                removed.push(word, with_sign(-1));
            }
        }
    }
}

/// Walks several ascending lists of postings as one, and yields each posting with how often it is
/// added minus how often it is removed, unless that is 0.
#[derive(Clone, Debug)]
pub struct NetPostings<'a> {
    lists: Vec<(&'a [u32], i32)>,
}

impl<'a> NetPostings<'a> {
    /// Takes lists with a sign: 1 for added, −1 for removed.
    pub fn new(lists: Vec<(&'a [u32], i32)>) -> Self {
        NetPostings { lists }
    }

    /// The number of [`positive`](Self::positive) postings, without walking the lists. Correct only
    /// if no posting is added twice and only added ones are removed, as holds for a word over all
    /// segments.
    pub fn remaining(&self) -> usize {
        let count_of_sign = |wanted| {
            let lists = self.lists.iter().filter(move |(_, sign)| *sign == wanted);
            lists.map(|(list, _)| list.len()).sum::<usize>()
        };
        count_of_sign(1).saturating_sub(count_of_sign(-1))
    }

    /// The postings that are added more often than removed.
    pub fn positive(self) -> impl Iterator<Item = u32> {
        self.filter(|net| net.1 > 0).map(|net| net.0)
    }
}

impl Iterator for NetPostings<'_> {
    type Item = (u32, i32);

    fn next(&mut self) -> Option<(u32, i32)> {
        loop {
            let heads = self.lists.iter().filter_map(|(list, _)| list.first());
            let least = *heads.min()?;
            let mut net = 0;
            for (list, sign) in &mut self.lists {
                if let Some((&head, rest)) = list.split_first()
                    && head == least
                {
                    net += *sign;
                    *list = rest;
                }
            }
            if net != 0 {
                return Some((least, net));
            }
        }
    }
}
