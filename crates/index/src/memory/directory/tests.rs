//! Compares the directory with brute force, in every form of a word set and over any history of
//! segments and merges.

#![allow(clippy::cast_possible_truncation, reason = "small or arbitrary values")]

use std::{collections::BTreeMap, ops::Range};

use proptest::{prelude::*, test_runner::RngSeed};
use rand::{Rng, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::{
    code::{HashCode, Length},
    memory::{
        ball::{Hit, Selection, Span},
        directory::Directory,
        segment::{Change, Entry, Segment},
    },
};

/// Images by sequence number: a code and labels.
type Images = BTreeMap<u32, (u64, Vec<u32>)>;

/// The images to write; `None` deletes.
type Writes = Vec<(u32, Option<(u64, Vec<u32>)>)>;

struct History {
    length: Length,
    directory: Directory,
    images: Images,
}

/// Compares spans that are extended to whole distances with brute force.
fn check_whole_distances(
    all: &[&(u32, u64, u32)],
    Span { offset, limit, .. }: Span,
    take: impl Fn(Span) -> Selection,
) {
    for extend_to in [0, offset + limit, offset + limit + 3, usize::MAX] {
        let span = Span {
            offset,
            limit,
            extend_to,
        };
        let Selection { hits, complete, .. } = take(span);
        let end = (offset + limit).min(all.len());
        let cut = |end: usize| 0 < end && end < all.len() && all[end - 1].0 == all[end].0;
        let rest = (end..all.len()).find(|&end| !cut(end)).unwrap_or(all.len());
        let expected = if limit > 0 && offset < end {
            end.max(rest.min(extend_to))
        } else {
            end
        };
        let found = hits
            .iter()
            .map(|hit| (hit.distance, hit.word, hit.sequence));
        assert!(found.eq(all.iter().take(expected).skip(offset).map(|one| **one)));
        if limit > 0 && offset < end {
            assert_eq!(complete, !cut(expected));
        }
    }
}

impl History {
    fn new(length: Length) -> Self {
        History {
            length,
            directory: Directory::new(&[length]),
            images: Images::new(),
        }
    }

    /// Commits some writes.
    fn commit(&mut self, writes: Writes) {
        let mut changes = Vec::new();
        for (sequence, after) in writes {
            let before = match after.clone() {
                Some(after) => self.images.insert(sequence, after),
                None => self.images.remove(&sequence),
            };
            let entry = |(word, labels)| Entry {
                codes: vec![word],
                labels,
                id: sequence / 3,
            };
            changes.push(Change {
                sequence,
                before: before.map(entry),
                after: after.map(entry),
            });
        }
        let segment = Segment::from_changes(self.directory.kinds(), &changes);
        let distinct = self.directory.distinct_after(&segment);
        let images = self.images.len() as u64;
        self.directory = self.directory.with(segment.into(), distinct, images);
    }

    fn merge(&mut self, at: Range<usize>) {
        let segments = &self.directory.segments()[at];
        let merged = Segment::merge(self.directory.kinds(), segments);
        self.directory = self.directory.merged(segments, merged.into());
    }

    /// Compares all queries for a code and a radius with brute force.
    fn check(&self, word: u64, radius: u32, labels: &[u32], offset: usize, limit: usize) {
        let code = HashCode::from_word(self.length, word);
        let word = code.word();
        let mut all: Vec<(u32, u64, u32)> = self
            .images
            .iter()
            .map(|(&sequence, &(other, _))| ((word ^ other).count_ones(), other, sequence))
            .collect();
        all.sort_unstable();
        let within: Vec<_> = all
            .iter()
            .filter(|(distance, ..)| *distance <= radius)
            .collect();
        let same = |hits: Vec<Hit>, expected: &mut dyn Iterator<Item = &&(u32, u64, u32)>| {
            let hits = hits
                .iter()
                .map(|hit| (hit.distance, hit.word, hit.sequence));
            assert!(hits.eq(expected.map(|expected| **expected)));
        };
        let ball = || self.directory.within(&code, radius).unwrap();
        assert_eq!(ball().total(), within.len() as u64);
        let page = Span::page(offset, limit);
        let selection = ball().select(page);
        assert_eq!(selection.total, within.len() as u64);
        same(selection.hits, &mut within.iter().skip(offset).take(limit));
        check_whole_distances(&within, page, |span| ball().select(span));
        let mut sequences = Vec::new();
        ball().sequences(&mut sequences);
        assert!(
            sequences
                .iter()
                .eq(within.iter().map(|(_, _, sequence)| sequence))
        );

        let has_label = |(.., sequence): &(u32, u64, u32)| {
            let mut its = self.images[sequence].1.iter();
            its.any(|label| labels.contains(label))
        };
        let labelled: Vec<_> = within
            .iter()
            .filter(|one| has_label(one))
            .copied()
            .collect();
        let filter = self.directory.labelled(labels);
        let everywhere: Vec<_> = all.iter().filter(|one| has_label(one)).collect();
        let passing = self.directory.passing(&code, &mut filter.clone());
        let selection = passing.unwrap().select_filtered(filter.clone(), page, true);
        assert_eq!(selection.total, everywhere.len() as u64);
        same(
            selection.hits,
            &mut everywhere.iter().skip(offset).take(limit),
        );
        for all in [true, false] {
            let take = |span| ball().select_filtered(filter.clone(), span, all);
            let Selection { hits, total, .. } = take(page);
            same(hits, &mut labelled.iter().skip(offset).take(limit));
            let expected = labelled.len() as u64;
            if all {
                assert_eq!(total, expected);
            } else {
                // The count is a lower bound, and enough if there are enough.
                assert!((expected.min(page.end() as u64)..=expected).contains(&total));
            }
            check_whole_distances(&labelled, page, take);
        }
        let hits: Vec<Hit> = ball()
            .select(Span::page(0, usize::MAX))
            .hits
            .into_iter()
            .rev()
            .collect();
        check_whole_distances(&within, page, |span| span.select_from(hits.clone()));

        let nearest = self
            .directory
            .nearest(&code, (offset + limit) as u64)
            .unwrap();
        same(
            nearest.select(page).hits,
            &mut all
                .iter()
                .collect::<Vec<_>>()
                .iter()
                .skip(offset)
                .take(limit),
        );

        // Paging past the end asks for more than can be counted.
        let everything = self.directory.nearest(&code, u64::MAX).unwrap();
        assert_eq!(everything.total(), all.len() as u64);

        let uncoded = self.directory.without_codes(&[self.length]);
        assert!(self.directory.is_coded());
        assert_eq!(uncoded.is_coded(), self.images.is_empty());

        let distinct: Vec<_> = self.directory.distinct().collect();
        let mut words: Vec<u64> = self.images.values().map(|(word, _)| *word).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(distinct, [(self.length, words.len() as u64)]);
        let id = word as u32 % 40;
        let with_id = self
            .images
            .keys()
            .copied()
            .filter(|sequence| sequence / 3 == id);
        assert!(self.directory.with_id(id).eq(with_id));
    }
}

/// Draws a code: random without centres, otherwise a centre with some bits flipped, as a trained
/// model makes them.
fn draw(rng: &mut ChaCha8Rng, length: Length, centres: &[u64], stray: f64) -> u64 {
    let bits = length.bits();
    if centres.is_empty() {
        return rng.random::<u64>() >> (64 - bits);
    }
    let centre = centres[rng.random_range(0..centres.len())];
    (0..bits).fold(centre, |word, bit| {
        word ^ u64::from(rng.random_bool(stray)) << bit
    })
}

/// Large enough for tables and bitmaps, at every radius.
#[test]
fn large_directories_agree_with_brute_force_at_every_radius() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    // Unoptimised, as `make check` runs it, all lengths take two minutes.
    let quick = cfg!(debug_assertions) && std::env::var_os("TEST_LONG").is_none();
    for length in Length::ALL.into_iter().take(if quick { 1 } else { 3 }) {
        for (centres, stray, images) in [(0, 0.0, 70_000), (3, 0.08, 70_000), (400, 0.05, 30_000)] {
            let centres: Vec<u64> = (0..centres)
                .map(|_| rng.random::<u64>() >> (64 - length.bits()))
                .collect();
            let mut history = History::new(length);
            let image = |rng: &mut ChaCha8Rng| {
                let labels = (0..3).filter(|_| rng.random_bool(0.3)).collect();
                Some((draw(rng, length, &centres, stray), labels))
            };
            history.commit(
                (0..images)
                    .map(|sequence| (sequence, image(&mut rng)))
                    .collect(),
            );
            for radius in (0..=length.bits() as u32).chain([u32::MAX]) {
                let word = draw(&mut rng, length, &centres, stray);
                let offset = [0, 0, 3, 1000][radius as usize % 4];
                history.check(word, radius, &[1], offset, 10);
            }
            // Some images are replaced, deleted and added; then the segments are merged.
            for _ in 0..3 {
                let mut sequences: Vec<u32> = (0..images + 2000).collect();
                sequences.shuffle(&mut rng);
                let writes = sequences[..9000].iter().map(|&sequence| {
                    (
                        sequence,
                        if rng.random_bool(0.4) {
                            None
                        } else {
                            image(&mut rng)
                        },
                    )
                });
                let writes = writes.collect();
                history.commit(writes);
            }
            for merged in [false, true] {
                if merged {
                    history.merge(1..4);
                    history.merge(0..2);
                }
                for radius in [0, 1, 2, 3, 4, 7, 11, 20] {
                    let word = draw(&mut rng, length, &centres, stray);
                    history.check(word, radius, &[0, 2], 5, 12);
                }
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<(u32, Option<(u64, u8)>)>),
    Merge(usize, usize),
    Check(u64, u32, u8, usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let write = (
        0u32..60,
        prop::option::weighted(0.7, (0u64..20, any::<u8>())),
    );
    prop_oneof![
        4 => prop::collection::vec(write, 0..12).prop_map(Step::Commit),
        1 => (0usize..9, 2usize..5).prop_map(|(from, count)| Step::Merge(from, count)),
        3 => (0u64..20, 0u32..26, 0u8..8, 0usize..40, 0usize..12)
            .prop_map(|(word, radius, labels, offset, limit)| Step::Check(word, radius, labels, offset, limit)),
    ]
}

fn labels(bits: u8) -> Vec<u32> {
    (0..3).filter(|label| bits >> label & 1 == 1).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, rng_seed: RngSeed::Fixed(5), ..ProptestConfig::default() })]
    #[test]
    fn any_history_agrees_with_brute_force(steps in prop::collection::vec(step(), 1..40)) {
        let mut history = History::new(Length::L24);
        for step in steps {
            match step {
                Step::Commit(writes) => {
                    let writes = writes.into_iter();
                    let image = |(word, bits)| ((word * 0x1_0101) & 0xff_ffff, labels(bits));
                    history.commit(writes.map(|(sequence, after)| (sequence, after.map(image))).collect());
                }
                Step::Merge(from, count) => {
                    let count = count.min(history.directory.segments().len().saturating_sub(from));
                    if count > 1 {
                        history.merge(from..from + count);
                    }
                }
                Step::Check(word, radius, bits, offset, limit) => {
                    history.check(word * 0x1_0101, radius, &labels(bits), offset, limit);
                }
            }
        }
    }
}

/// A ball contains the smaller ones, also with one image or none.
#[test]
fn balls_grow_with_the_radius() {
    let mut history = History::new(Length::L48);
    for images in 0..3 {
        for radius in 0..=48 {
            history.check(0x0123_4567_89ab, radius, &[0], 0, 2);
            let code = HashCode::from_word(Length::L48, 5);
            let smaller = history.directory.within(&code, radius).unwrap().total();
            assert!(smaller <= history.directory.within(&code, radius + 1).unwrap().total());
        }
        history.commit(vec![(
            images,
            Some((0x0123_4567_89ab ^ 0xff << (8 * images), vec![0])),
        )]);
    }
    assert!(
        history
            .directory
            .within(&HashCode::from_word(Length::L24, 0), 1)
            .is_err()
    );
}
