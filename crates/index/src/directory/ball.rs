//! A ball: the distinct codes near one, with the postings behind them, and the images these amount to, in order.
//! Knows columns whose postings count for or against an image; nothing of how the codes were found.

use crate::code::Length;

use crate::{column::Column, filter::Filter, probe::Near, segment::Net};

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
        // In turns, since most are at one distance and would wait for each other.
        let mut turns = [[0i64; 64]; 2];
        for pair in self.near.chunks(turns.len()) {
            for (at_distance, near) in turns.iter_mut().zip(pair) {
                at_distance[near.distance() as usize] += self.count(near);
            }
        }
        let [mut at_distance, other] = turns;
        for (sum, count) in at_distance.iter_mut().zip(other) {
            *sum += count;
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
        self.sort();
        let mut hits = Vec::new();
        for same in self.groups() {
            let count: i64 = same.iter().map(|near| self.count(near)).sum();
            let count = count.max(0) as usize;
            if skip >= count {
                skip -= count;
                continue;
            }
            let left = limit - hits.len();
            self.hits(same, |these| hits.extend(these.skip(skip).take(left)));
            skip = 0;
            if hits.len() == limit {
                break;
            }
        }
        (total.max(0) as u64, hits)
    }

    /// The same of the images that pass a filter, for which all are looked at.
    pub fn filtered(mut self, filter: &Filter, offset: usize, limit: usize) -> (u64, Vec<Hit>) {
        let (mut total, mut hits) = (0, Vec::new());
        self.sort();
        let all = self.total() as usize;
        let filter = filter.prepared(all);
        for same in self.groups() {
            self.hits(same, |these| {
                for hit in these.filter(|hit| filter.has(hit.sequence)) {
                    if total >= offset && hits.len() < limit {
                        hits.push(hit);
                    }
                    total += 1;
                }
            });
        }
        (total as u64, hits)
    }

    /// The sequence numbers of all its images, by distance, then code, then age.
    pub fn sequences(mut self, into: &mut Vec<u32>) {
        self.sort();
        for same in self.groups() {
            match same {
                [one] => into.extend_from_slice(self.postings(one)),
                _ => into.extend(self.net(same)),
            }
        }
    }

    fn sort(&mut self) {
        self.near.sort_unstable_by_key(Near::key);
    }

    /// Each code with all its lists.
    fn groups(&self) -> impl Iterator<Item = &[Near]> {
        self.near.chunk_by(|a, b| a.key() == b.key())
    }

    fn postings(&self, near: &Near) -> &'a [u32] {
        self.columns[near.list as usize].postings(near.slot)
    }

    fn net(&self, same: &[Near]) -> impl Iterator<Item = u32> + use<'a> {
        let lists = same
            .iter()
            .map(|near| (self.postings(near), sign(near.list as usize)));
        Net::new(lists.collect()).positive()
    }

    /// The images of a code, by age.
    fn hits(&self, same: &[Near], take: impl FnOnce(&mut dyn Iterator<Item = Hit>)) {
        let hit = |sequence| Hit {
            distance: same[0].distance(),
            length: self.length,
            word: same[0].word(),
            sequence,
        };
        match same {
            [one] => take(&mut self.postings(one).iter().copied().map(hit)),
            _ => take(&mut self.net(same).map(hit)),
        }
    }
}

/// Whether the postings of a list are added or removed: the lists of a column take turns.
pub fn sign(list: usize) -> i32 {
    if list.is_multiple_of(2) { 1 } else { -1 }
}
