//! Compares the directory with brute force, in every form of a word set and over any history of
//! segments and merges.

#![allow(clippy::cast_possible_truncation, reason = "small or arbitrary values")]

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use proptest::{prelude::*, test_runner::RngSeed};
use rand::{Rng, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::{
    code::{HashCode, Length},
    memory::{
        directory::Directory,
        find::Lookup,
        image_set::ImageSet,
        one_by_one::Source,
        passing::Passing,
        segment::{Change, Entry, Segment},
        selection::{Hit, Selection, Span},
    },
    types::{
        field::{Field, FieldType, word},
        filter::condition::{Condition, Property, Test, TextTest},
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
            directory: Directory::new(&[length], fields()),
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
            let entry = |(word, labels): (u64, Vec<u32>)| Entry {
                codes: vec![word],
                id: sequence / 3,
                values: values(word, &labels),
                labels,
                created_at_ms: word % 50,
                updated_at_ms: 0,
            };
            changes.push(Change {
                sequence,
                only_field: None,
                before: before.map(entry),
                after: after.map(entry),
            });
        }
        let segment = Segment::from_changes(self.directory.kinds(), &changes);
        let distinct = self.directory.distinct_after(&segment);
        let images = self.images.len() as u64;
        let changed = changes
            .into_iter()
            .map(|change| (change.sequence, change.after));
        let mut directory = self.directory.with(segment.into(), distinct, images);
        directory.keep_cache(&self.directory, changed.collect());
        self.directory = directory;
    }

    /// Compares the images that meet a condition with brute force.
    fn check_condition(&mut self, condition: &Condition) {
        let directory = self.directory.clone();
        let passing = directory
            .passing(condition, self)
            .unwrap_or_else(|error| match error {});
        let holds =
            |(_, (word, labels)): &(&u32, &(u64, Vec<u32>))| meets(condition, *word, labels);
        let expected: Vec<u32> = self
            .images
            .iter()
            .filter(holds)
            .map(|(&image, _)| image)
            .collect();
        assert_eq!(passing.len(), expected.len(), "{condition:?}");
        assert!(
            directory.set_of(&passing).iter_from(0).eq(expected),
            "{condition:?}"
        );
        for (&image, (word, labels)) in &self.images {
            assert_eq!(passing.has(image), meets(condition, *word, labels));
        }
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
        let words: Vec<_> = labels
            .iter()
            .map(|&label| u64::from(label)..=u64::from(label))
            .collect();
        let set = self.directory.labelled(&words);
        let everywhere: Vec<_> = all.iter().filter(|one| has_label(one)).collect();
        for (radius, expected) in [(64, &everywhere), (radius, &labelled)] {
            let select = |span| {
                let source = Source {
                    codes: self.directory.image_codes(),
                    at: 0,
                    are_coded: false,
                };
                let selection = source.select(&set, &code, radius, span);
                let gathered = source.gather(&set).select(&code, radius, span);
                assert_eq!(selection.hits, gathered.hits);
                selection
            };
            let selection = select(page);
            assert_eq!(selection.total, expected.len() as u64);
            same(
                selection.hits,
                &mut expected.iter().skip(offset).take(limit),
            );
            check_whole_distances(expected, page, select);
        }
        let passing = Passing::of(set, false, self.images.len());
        for all in [true, false] {
            let take = |span| ball().select_filtered(&passing, span, all);
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

impl Lookup for History {
    type Error = std::convert::Infallible;

    fn numbers(&mut self, test: &TextTest) -> Result<Vec<u32>, Self::Error> {
        let TextTest::OneOf(names) = test else {
            return Ok(Vec::new());
        };
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    fn images(&mut self, property: Property, test: &Test) -> Result<ImageSet, Self::Error> {
        let condition = Condition::Has(property, test.clone());
        let holds =
            |(_, (word, labels)): &(&u32, &(u64, Vec<u32>))| meets(&condition, *word, labels);
        let images = self.images.iter().filter(holds).map(|(&image, _)| image);
        Ok(ImageSet::from_unsorted(images.collect()))
    }
}

/// A keyword with several values, and an integer that some images lack.
fn fields() -> Arc<[Field]> {
    let field = |number, path: &str, kind| Field {
        number,
        path: path.parse().unwrap(),
        kind,
        built: true,
    };
    [
        field(7, "colour", FieldType::Keyword),
        field(9, "price", FieldType::Integer),
    ]
    .into()
}

fn values(word: u64, labels: &[u32]) -> Vec<Vec<u64>> {
    let colours = labels.iter().map(|&label| word::of_keyword(label % 2));
    let mut colours: Vec<u64> = colours.collect();
    colours.sort_unstable();
    colours.dedup();
    let price = (!word.is_multiple_of(3)).then_some(10 + word % 5);
    vec![colours, price.into_iter().collect()]
}

/// Evaluates a condition against one image.
fn meets(condition: &Condition, word: u64, labels: &[u32]) -> bool {
    match condition {
        Condition::All(parts) => parts.iter().all(|part| meets(part, word, labels)),
        Condition::Any(parts) => parts.iter().any(|part| meets(part, word, labels)),
        Condition::Not(part) => !meets(part, word, labels),
        Condition::Has(property, test) => {
            let values = values(word, labels);
            let passes = |value: u64| match test {
                Test::Exists => true,
                Test::Words(words) => words.iter().any(|range| range.contains(&value)),
                Test::Text(test) => {
                    let number = word::keyword(value).unwrap_or(u32::MAX);
                    test.passes(&number.to_string())
                }
            };
            match property {
                Property::Field(7) => values[0].iter().any(|&value| passes(value)),
                Property::Field(_) => values[1].iter().any(|&value| passes(value)),
                Property::Labels => labels.iter().any(|&label| match test {
                    Test::Text(test) => test.passes(&label.to_string()),
                    _ => true,
                }),
                Property::CreatedAt => passes(word::of_milliseconds(word % 50)),
                Property::Id | Property::UpdatedAt => true,
            }
        }
    }
}

fn condition() -> impl Strategy<Value = Condition> {
    let text = |number: u32| Test::Text(TextTest::OneOf(vec![number.to_string()]));
    let words = (0u64..8, 0u64..8).prop_map(|(first, count)| vec![8 + first..=8 + first + count]);
    let leaf = prop_oneof![
        (0u32..3).prop_map(move |number| (Property::Labels, text(number))),
        (0u32..3).prop_map(move |number| (Property::Field(7), text(number))),
        words
            .clone()
            .prop_map(|words| (Property::Field(9), Test::Words(words))),
        words.prop_map(|words| (Property::CreatedAt, Test::Words(words))),
        Just((Property::Field(9), Test::Exists)),
        Just((Property::Labels, Test::Exists)),
        Just((Property::Id, Test::Exists)),
    ];
    let leaf = leaf.prop_map(|(property, test)| Condition::Has(property, test));
    leaf.prop_recursive(3, 8, 3, |inner| {
        let parts = prop::collection::vec(inner.clone(), 0..4);
        prop_oneof![
            inner.prop_map(|inner| Condition::Not(inner.into())),
            parts.clone().prop_map(Condition::All),
            parts.prop_map(Condition::Any),
        ]
    })
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
    Filter(usize),
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
        4 => (0usize..6).prop_map(Step::Filter),
    ]
}

fn labels(bits: u8) -> Vec<u32> {
    (0..3).filter(|label| bits >> label & 1 == 1).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, rng_seed: RngSeed::Fixed(5), ..ProptestConfig::default() })]
    #[test]
    fn any_history_agrees_with_brute_force(
        steps in prop::collection::vec(step(), 1..40),
        conditions in prop::collection::vec(condition(), 6),
    ) {
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
                // A filter that was used before is known, and updated.
                Step::Filter(at) => history.check_condition(&conditions[at]),
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
