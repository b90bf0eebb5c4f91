//! A ball: the distinct codes within a radius, and their images in order.

use crate::{
    code::Length,
    memory::{
        column::Column,
        passing::Passing,
        probe::near::NearWord,
        segment::NetPostings,
        selection::{Hit, Selection, Span, Window},
    },
};

/// The codes within a radius of the query's, with their images.
pub struct Ball<'a> {
    /// The length of the query's code.
    pub length: Length,
    /// The lists of postings: added ones at even indices, removed ones at odd.
    pub columns: Vec<&'a Column>,
    /// The codes within the radius, each with its list.
    pub near: Vec<NearWord>,
}

impl<'a> Ball<'a> {
    /// The number of images. Only counts are read, no postings.
    pub fn total(&self) -> u64 {
        let total: i64 = self.near.iter().map(|near| self.count(near)).sum();
        u64::try_from(total).unwrap_or(0)
    }

    fn count(&self, near: &NearWord) -> i64 {
        let list = near.list as usize;
        i64::from(self.columns[list].count(near.slot)) * i64::from(sign(list))
    }

    /// Selects the images of a span, by distance, then code, then age. Reads only the postings of
    /// these images and sorts only the codes at their distances.
    pub fn select(&self, span: Span) -> Selection {
        // Two sets of counters, used alternately: most codes are at one distance, and increments of
        // one counter would wait for each other.
        let mut counts = [[0i64; 64]; 2];
        for pair in self.near.chunks(counts.len()) {
            for (at_distance, near) in counts.iter_mut().zip(pair) {
                at_distance[near.distance() as usize] += self.count(near);
            }
        }
        let [mut at_distance, other] = counts;
        for (sum, count) in at_distance.iter_mut().zip(other) {
            *sum += count;
        }
        let Window {
            wanted,
            mut skip,
            limit,
            mut selection,
        } = span.window(&at_distance);
        let is_wanted = |near: &&NearWord| wanted[near.distance() as usize];
        let mut near: Vec<NearWord> = self.near.iter().filter(is_wanted).copied().collect();
        near.sort_unstable_by_key(NearWord::key);
        let hits = &mut selection.hits;
        for same in groups(&near) {
            let count: i64 = same.iter().map(|near| self.count(near)).sum();
            let count = usize::try_from(count).unwrap_or(0);
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
        selection
    }

    /// The same for the images that pass a filter. Unless `all` is set, it stops when the span is
    /// full, and the total counts only the images met so far.
    pub fn select_filtered(&self, filter: &Passing, span: Span, all: bool) -> Selection {
        let max_hits = match span.limit {
            0 => span.end(),
            _ => span.end().max(span.extend_to),
        } as u64;
        let mut selection = Selection {
            complete: true,
            ..Selection::default()
        };
        let mut distances = [false; 64];
        for near in &self.near {
            distances[near.distance() as usize] = true;
        }
        let (mut next, mut near) = (0, Vec::new());
        while selection.total < span.end() as u64
            && let Some(distance) = (next..64).find(|&distance| distances[distance])
        {
            next = distance + 1;
            near.clear();
            near.extend((self.near.iter()).filter(|near| near.distance() as usize == distance));
            if near.len() > PREFILTER_ABOVE {
                near.retain(|near| self.postings(near).iter().any(|one| filter.has(*one)));
            }
            near.sort_unstable_by_key(NearWord::key);
            for same in groups(&near) {
                let merged: Vec<u32>;
                let mut images = match same {
                    [one] => self.postings(one),
                    _ => {
                        merged = self.net(same).collect();
                        &merged
                    }
                };
                while selection.total < max_hits
                    && let Some((&sequence, rest)) = images.split_first()
                {
                    images = rest;
                    if filter.has(sequence) {
                        if selection.total >= span.offset as u64 {
                            selection.hits.push(self.hit(same, sequence));
                        }
                        selection.total += 1;
                    }
                }
                if selection.total >= max_hits && all {
                    let left = filter.count_in(images) as u64;
                    selection.complete &= left == 0;
                    selection.total += left;
                } else if images.iter().any(|&image| filter.has(image)) {
                    selection.complete = false;
                    return selection;
                }
            }
        }
        if all {
            let rest = self.near.iter();
            let rest = rest.filter(|near| near.distance() as usize >= next);
            let rest = rest.map(|near| {
                let passing = filter.count_in(self.postings(near));
                signed(passing, sign(near.list as usize))
            });
            selection.total = selection.total.saturating_add_signed(rest.sum());
        }
        selection
    }

    /// Adds the sequence numbers of all images, by distance, then code, then age.
    pub fn sequences(mut self, into: &mut Vec<u32>) {
        self.near.sort_unstable_by_key(NearWord::key);
        for same in groups(&self.near) {
            match same {
                [one] => into.extend_from_slice(self.postings(one)),
                _ => into.extend(self.net(same)),
            }
        }
    }

    fn postings(&self, near: &NearWord) -> &'a [u32] {
        self.columns[near.list as usize].postings(near.slot)
    }

    fn net(&self, same: &[NearWord]) -> impl Iterator<Item = u32> + use<'a> {
        let lists = same
            .iter()
            .map(|near| (self.postings(near), sign(near.list as usize)));
        NetPostings::new(lists.collect()).positive()
    }

    /// Passes the images of one code to `take`, by age.
    fn hits(&self, same: &[NearWord], take: impl FnOnce(&mut dyn Iterator<Item = Hit>)) {
        let hit = |sequence| self.hit(same, sequence);
        match same {
            [one] => take(&mut self.postings(one).iter().copied().map(hit)),
            _ => take(&mut self.net(same).map(hit)),
        }
    }

    /// An image of one code.
    fn hit(&self, same: &[NearWord], sequence: u32) -> Hit {
        Hit {
            distance: same[0].distance(),
            length: self.length,
            word: same[0].word(),
            sequence,
        }
    }
}

/// If more codes than this are at one distance, codes without a passing image are dropped before
/// the rest are sorted.
const PREFILTER_ABOVE: usize = 1024;

/// Groups equal codes of different lists.
fn groups(near: &[NearWord]) -> impl Iterator<Item = &[NearWord]> {
    near.chunk_by(|a, b| a.key() == b.key())
}

/// The sign of a list: 1 if its postings are added (even index), −1 if they are removed (odd
/// index).
pub fn sign(list: usize) -> i32 {
    if list.is_multiple_of(2) { 1 } else { -1 }
}

/// The number of postings of a list, with the list's sign.
#[inline]
#[expect(
    clippy::cast_possible_wrap,
    reason = "memory holds fewer than 2^63 postings"
)]
pub fn signed(postings: usize, sign: i32) -> i64 {
    postings as i64 * i64::from(sign)
}
