//! Codes of one length in memory, without a store, searched with the directory of the index. For
//! benchmarks and tools. An image is the index of its code in the given list.

use std::sync::Arc;

use crate::{
    code::{HashCode, Length},
    memory::{
        ball::{Hit, Span},
        column::Column,
        directory::Directory,
        probe::Kind,
        segment::Segment,
    },
};

/// Codes of one length in memory, searched with the directory of the index.
pub struct CodeSet(Directory);

impl CodeSet {
    /// Creates the set from codes as words, image 0 first; at most 2³² − 1.
    pub fn new(length: Length, words: Vec<u64>) -> Self {
        let images = words.len() as u64;
        let mut pairs: Vec<(u64, u32)> = words.into_iter().zip(0..).collect();
        pairs.sort_unstable();
        let empty = Directory::new(&[length]);
        let none = |kind: &Kind| Arc::new(Column::from_sorted(*kind, &[]));
        let column = |kind: &Kind| match kind {
            Kind::Codes(_) => Arc::new(Column::from_sorted(*kind, &pairs)),
            Kind::Labels | Kind::Ids => none(kind),
        };
        let segment = Segment {
            added: empty.kinds().iter().map(column).collect(),
            removed: empty.kinds().iter().map(none).collect(),
        };
        let distinct = empty.distinct_after(&segment);
        CodeSet(empty.with(Arc::new(segment), distinct, images))
    }

    /// The number of distinct codes.
    pub fn distinct(&self) -> u64 {
        self.0.distinct().map(|(_, distinct)| distinct).sum()
    }

    /// The memory that it takes, in bytes.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// Adds all images within a radius to a list, by distance, then code, then age.
    pub fn ids(&self, code: &HashCode, radius: u32, into: &mut Vec<u32>) {
        if let Ok(ball) = self.0.within(code, radius) {
            ball.sequences(into);
        }
    }

    /// Returns the number of images within a radius, and the first `limit` of them with their
    /// distances.
    pub fn counted(&self, code: &HashCode, radius: u32, limit: usize) -> (u64, Vec<(u32, u32)>) {
        let ball = self.0.within(code, radius);
        let found = ball.map(|ball| ball.select(Span::page(0, limit)));
        let found = found.unwrap_or_default();
        (found.total, Self::pairs(&found.hits))
    }

    /// Returns the `limit` nearest images with their distances.
    pub fn nearest(&self, code: &HashCode, limit: usize) -> Vec<(u32, u32)> {
        let ball = self.0.nearest(code, limit as u64);
        let found = ball.map(|ball| ball.select(Span::page(0, limit)));
        Self::pairs(&found.unwrap_or_default().hits)
    }

    fn pairs(hits: &[Hit]) -> Vec<(u32, u32)> {
        let pairs = hits.iter().map(|hit| (hit.sequence, hit.distance));
        pairs.collect()
    }
}
