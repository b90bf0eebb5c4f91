//! A ball: the distinct codes near one, with the postings behind them, and the images these amount to, in order.
//! Knows columns whose postings count for or against an image; nothing of how the codes were found.

use std::ops::Range;

use crate::code::Length;

use crate::index::{column::Column, filter::Filter, probe::Near, segment::Net};

/// An image found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// How far its code is.
    pub distance: u32,
    /// The length of its code.
    pub length: Length,
    /// Its code.
    pub word: u64,
    /// Its sequence number.
    pub sequence: u32,
}

/// The codes within a radius of one, with the images behind them.
pub struct Ball<'a> {
    /// Of the code that it is around.
    pub length: Length,
    /// The lists of postings.
    pub columns: Vec<&'a Column>,
    /// The codes in them, each in its list.
    pub near: Vec<Near>,
}

impl<'a> Ball<'a> {
    /// How many images it has. Counts are enough to tell: no posting is touched.
    pub fn total(&self) -> u64 {
        let total: i64 = self.near.iter().map(|near| self.count(near)).sum();
        total.max(0) as u64
    }

    fn count(&self, near: &Near) -> i64 {
        let list = near.list as usize;
        i64::from(self.columns[list].count(near.slot)) * i64::from(sign(list))
    }

    /// How many images it has, and those from `offset` on, at most `limit`, by distance, then code, then age. Only these
    /// are touched, and only codes of their distances are sorted.
    pub fn window(mut self, offset: usize, limit: usize) -> (u64, Vec<Hit>) {
        let mut at_distance = [0i64; 64];
        for near in &self.near {
            at_distance[near.distance() as usize] += self.count(near);
        }
        let total: i64 = at_distance.iter().sum();
        let end = offset.saturating_add(limit) as i64;
        let (mut before, mut skip) = (0, offset);
        let mut wanted = [false; 64];
        for (distance, count) in at_distance.into_iter().enumerate() {
            let after = before + count;
            if after <= offset as i64 {
                skip = offset - after as usize;
            } else {
                wanted[distance] = before < end && limit > 0;
            }
            before = after;
        }
        self.near.retain(|near| wanted[near.distance() as usize]);
        let hits = self.walk().skip(skip).take(limit).collect();
        (total.max(0) as u64, hits)
    }

    /// The same of the images that pass a filter, for which all are looked at.
    pub fn filtered(self, filter: &Filter, offset: usize, limit: usize) -> (u64, Vec<Hit>) {
        let (mut total, mut hits) = (0, Vec::new());
        let all = self.total() as usize;
        let filter = filter.prepared(all);
        for hit in self.walk().filter(|hit| filter.has(hit.sequence)) {
            if total >= offset && hits.len() < limit {
                hits.push(hit);
            }
            total += 1;
        }
        (total as u64, hits)
    }

    /// The sequence numbers of all its images, by distance, then code, then age.
    pub fn sequences(mut self, into: &mut Vec<u32>) {
        self.near.sort_unstable_by_key(Near::key);
        for same in self.near.chunk_by(|a, b| a.key() == b.key()) {
            match same {
                [one] => into.extend_from_slice(self.columns[one.list as usize].postings(one.slot)),
                _ => into.extend(net(&self.columns, same)),
            }
        }
    }

    fn walk(mut self) -> impl Iterator<Item = Hit> {
        self.near.sort_unstable_by_key(Near::key);
        let Ball {
            length,
            columns,
            near,
        } = self;
        let groups: Vec<Range<usize>> = {
            let mut start = 0;
            near.chunk_by(|a, b| a.key() == b.key())
                .map(|same| {
                    let group = start..start + same.len();
                    start = group.end;
                    group
                })
                .collect()
        };
        groups.into_iter().flat_map(move |group| {
            let same = &near[group];
            let (distance, word) = (same[0].distance(), same[0].word());
            let hit = move |sequence| Hit {
                distance,
                length,
                word,
                sequence,
            };
            let postings: Box<dyn Iterator<Item = u32> + 'a> = match same {
                [one] => {
                    let postings: &'a [u32] = columns[one.list as usize].postings(one.slot);
                    Box::new(postings.iter().copied())
                }
                _ => Box::new(net(&columns, same)),
            };
            postings.map(hit)
        })
    }
}

fn net<'a>(columns: &[&'a Column], same: &[Near]) -> impl Iterator<Item = u32> + use<'a> {
    let lists: Vec<(&'a [u32], i32)> = same
        .iter()
        .map(|near| {
            let list = near.list as usize;
            (columns[list].postings(near.slot), sign(list))
        })
        .collect();
    Net::new(lists).positive()
}

/// Whether the postings of a list are added or removed: the lists of a column take turns.
pub fn sign(list: usize) -> i32 {
    if list.is_multiple_of(2) { 1 } else { -1 }
}
