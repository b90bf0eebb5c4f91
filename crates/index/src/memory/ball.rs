//! A ball: the distinct codes near one, with the postings behind them, and the images these amount to, in order.
//! Knows columns whose postings count for or against an image; nothing of how the codes were found.

use crate::{
    code::Length,
    memory::{column::Column, filter::Filter, probe::near::Near, segment::NetPostings},
};

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

/// Which of the images in order are taken.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The first.
    pub offset: usize,
    /// How many at most.
    pub limit: usize,
    /// Where they would end among images of one distance, the rest of these is taken too, as long as it are no more than this from the
    /// first one of all on.
    pub most: usize,
}

/// What was taken.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// How many images there are in all.
    pub total: u64,
    /// Those of the span.
    pub hits: Vec<Hit>,
    /// Whether the span does not end among images of one distance.
    pub complete: bool,
}

/// A span among so many images at each distance.
struct Window {
    /// The distances at which it has images.
    wanted: [bool; 64],
    /// How many images of the first of these come before it.
    skip: usize,
    /// How many it has at most.
    limit: usize,
    taken: Taken,
}

impl Span {
    /// That of a page of answers.
    pub fn page(offset: usize, limit: usize) -> Self {
        Span {
            offset,
            limit,
            most: 0,
        }
    }

    /// The place after its last.
    pub fn end(&self) -> usize {
        self.offset.saturating_add(self.limit)
    }

    /// What is taken of some images in any order.
    pub fn of(self, mut hits: Vec<Hit>) -> Taken {
        let mut at_distance = [0; 64];
        for hit in &hits {
            at_distance[hit.distance as usize] += 1;
        }
        let Window { limit, taken, .. } = self.among(&at_distance);
        hits.sort_unstable_by_key(|hit| (hit.distance, hit.word, hit.sequence));
        let hits = hits.into_iter().skip(self.offset).take(limit).collect();
        Taken { hits, ..taken }
    }

    fn among(self, at_distance: &[i64; 64]) -> Window {
        let Span {
            offset,
            limit,
            most,
        } = self;
        let total: i64 = at_distance.iter().sum();
        let (mut end, mut before, mut skip) = (self.end(), 0, offset);
        let (mut wanted, mut complete) = ([false; 64], true);
        for (distance, &count) in at_distance.iter().enumerate() {
            let after = before + count.max(0) as usize;
            if after <= offset {
                skip = offset - after;
            } else {
                wanted[distance] = before < end && limit > 0;
                if wanted[distance] && after > end {
                    end = end.max(after.min(most));
                    complete = after == end;
                }
            }
            before = after;
        }
        Window {
            wanted,
            skip,
            limit: end - offset,
            taken: Taken {
                total: total.max(0) as u64,
                hits: Vec::new(),
                complete,
            },
        }
    }
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

    /// The images of a span of it, by distance, then code, then age, and how many it has in all. Only these are touched, and only codes of
    /// their distances are sorted.
    pub fn take(&self, span: Span) -> Taken {
        // In turns, since most are at one distance and would wait for each other.
        let mut changes_generations = [[0i64; 64]; 2];
        for pair in self.near.chunks(changes_generations.len()) {
            for (at_distance, near) in changes_generations.iter_mut().zip(pair) {
                at_distance[near.distance() as usize] += self.count(near);
            }
        }
        let [mut at_distance, other] = changes_generations;
        for (sum, count) in at_distance.iter_mut().zip(other) {
            *sum += count;
        }
        let Window {
            wanted,
            mut skip,
            limit,
            mut taken,
        } = span.among(&at_distance);
        let is_wanted = |near: &&Near| wanted[near.distance() as usize];
        let mut near: Vec<Near> = self.near.iter().filter(is_wanted).copied().collect();
        near.sort_unstable_by_key(Near::key);
        let hits = &mut taken.hits;
        for same in groups(&near) {
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
        taken
    }

    /// The same of the images that pass a filter. Unless `all` is set, it stops once the span is full, and the total counts only the images
    /// met until then.
    pub fn take_filtered(&self, mut filter: Filter, span: Span, all: bool) -> Taken {
        let most = match span.limit {
            0 => span.end(),
            _ => span.end().max(span.most),
        } as u64;
        let mut taken = Taken {
            complete: true,
            ..Taken::default()
        };
        let mut distances = [false; 64];
        for near in &self.near {
            distances[near.distance() as usize] = true;
        }
        let (mut next, mut near) = (0, Vec::new());
        while taken.total < span.end() as u64
            && let Some(distance) = (next..64).find(|&distance| distances[distance])
        {
            next = distance + 1;
            near.clear();
            near.extend((self.near.iter()).filter(|near| near.distance() as usize == distance));
            if near.len() > MANY {
                near.retain(|near| self.postings(near).iter().any(|one| filter.has(*one)));
            }
            near.sort_unstable_by_key(Near::key);
            for same in groups(&near) {
                self.hits(same, |hits| {
                    for hit in hits.filter(|hit| filter.has(hit.sequence)) {
                        if taken.total >= most {
                            taken.complete = false;
                            if !all {
                                return;
                            }
                        } else if taken.total >= span.offset as u64 {
                            taken.hits.push(hit);
                        }
                        taken.total += 1;
                    }
                });
                if !all && !taken.complete {
                    return taken;
                }
            }
        }
        if all {
            let rest = self.near.iter();
            let rest = rest.filter(|near| near.distance() as usize >= next);
            let rest = rest.map(|near| {
                let postings = self.postings(near).iter();
                let passing = postings.filter(|posting| filter.has(**posting)).count();
                passing as i64 * i64::from(sign(near.list as usize))
            });
            taken.total = taken.total.saturating_add_signed(rest.sum());
        }
        taken
    }

    /// The sequence numbers of all its images, by distance, then code, then age.
    pub fn sequences(mut self, into: &mut Vec<u32>) {
        self.near.sort_unstable_by_key(Near::key);
        for same in groups(&self.near) {
            match same {
                [one] => into.extend_from_slice(self.postings(one)),
                _ => into.extend(self.net(same)),
            }
        }
    }

    fn postings(&self, near: &Near) -> &'a [u32] {
        self.columns[near.list as usize].postings(near.slot)
    }

    fn net(&self, same: &[Near]) -> impl Iterator<Item = u32> + use<'a> {
        let lists = same
            .iter()
            .map(|near| (self.postings(near), sign(near.list as usize)));
        NetPostings::new(lists.collect()).positive()
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

/// If more codes than this are at one distance, those without a passing image are dropped before the rest are sorted.
const MANY: usize = 1024;

/// Each code with all its lists.
fn groups(near: &[Near]) -> impl Iterator<Item = &[Near]> {
    near.chunk_by(|a, b| a.key() == b.key())
}

/// Whether the postings of a list are added or removed: the lists of a column take turns.
pub fn sign(list: usize) -> i32 {
    if list.is_multiple_of(2) { 1 } else { -1 }
}
