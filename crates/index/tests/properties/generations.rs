//! Compares changes of generations with a plain list: whatever is written during them, each
//! generation answers by its own codes. A generation's codes are derived from its number.

use std::collections::BTreeMap;

use proptest::prelude::*;
use scihcgrl_index::{
    Codes, Filter, Generation, Index, IndexError, NewImage, Order, Precondition, Query, Recoded,
    Sketch,
    code::{HashCode, Length},
};
use tokio::runtime::Runtime;

use super::{
    SKETCH, Shown, cases, codes, expected, id, image, labels, labels_in, open, shown, sketch,
};

#[derive(Clone, Debug)]
enum Step {
    /// The flag adds codes of the standby generation.
    Put(usize, u8, u8, bool),
    Relabel(usize, u8),
    Delete(usize),
    /// The model: one of three.
    Begin(u8),
    /// The maximum number of images to recode, and a flag that leaves every third uncoded.
    Recode(usize, bool),
    Activate,
    Discard,
    Reopen,
    Search(u8, u32, u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (0usize..70, any::<u8>(), any::<u8>(), any::<bool>())
            .prop_map(|(number, seed, bits, both)| Step::Put(number, seed, bits, both)),
        2 => (0usize..70, any::<u8>()).prop_map(|(number, bits)| Step::Relabel(number, bits)),
        2 => (0usize..70).prop_map(Step::Delete),
        2 => (0u8..3).prop_map(Step::Begin),
        4 => (1usize..90, any::<bool>()).prop_map(|(limit, leaves)| Step::Recode(limit, leaves)),
        3 => Just(Step::Activate),
        1 => Just(Step::Discard),
        1 => Just(Step::Reopen),
        6 => (any::<u8>(), 0u32..=24, 0u8..8)
            .prop_map(|(seed, radius, bits)| Step::Search(seed, radius, bits)),
    ]
}

/// An image's codes and its sketch.
type Coded = (Vec<HashCode>, Option<Sketch>);

/// An image of the plain list.
#[derive(Clone, Debug)]
struct Held {
    seed: u8,
    bits: u8,
    /// Its codes and sketch in each generation that has it; `None` if it is uncoded there.
    codes: BTreeMap<u32, Option<Coded>>,
}

/// The codes and sketch of an image in a generation.
fn coded((generation, model): (u32, u8), seed: u8) -> Coded {
    let seed = seed.wrapping_mul(2 * generation as u8 + 1);
    (codes(seed), width(model).map(|bytes| sketch(bytes, seed)))
}

/// The size of a model's sketches in bytes.
fn width(model: u8) -> Option<usize> {
    match model {
        FIRST => Some(SKETCH),
        0 => None,
        _ => Some(usize::from(model) + 1),
    }
}

/// The first model.
const FIRST: u8 = 255;

struct Plain {
    images: BTreeMap<usize, Held>,
    /// Numbers in order of age.
    ages: Vec<usize>,
    active: u32,
    /// The model of the active generation.
    model: u8,
    standby: Option<(u32, u8)>,
}

impl Plain {
    fn search(&self, generation: u32, query: &Query) -> (u64, bool, Vec<Shown>) {
        let held = self
            .ages
            .iter()
            .map(|number| (*number, &self.images[number]));
        let wanted = |held: &Held| {
            let own = labels(held.bits);
            let asked = labels_in(query);
            asked.is_empty() || own.iter().any(|label| asked.contains(label))
        };
        let hits = held
            .filter(|(_, held)| wanted(held))
            .filter_map(|(number, held)| {
                let (codes, sketch) = held.codes.get(&generation)?.as_ref()?;
                let code = codes
                    .iter()
                    .find(|code| code.length() == query.code.length())?;
                let distance = code.distance(&query.code)?;
                let near = query.radius.is_none_or(|radius| distance <= radius);
                near.then(|| (distance, *code, id(number), sketch.as_ref()))
            });
        expected(hits.collect(), query)
    }

    /// The model of a generation.
    fn model(&self, generation: u32) -> u8 {
        let standby = self.standby.filter(|(standby, _)| *standby == generation);
        standby.map_or(self.model, |(_, model)| model)
    }

    fn missing(&self) -> u64 {
        let Some((standby, _)) = self.standby else {
            return 0;
        };
        let lacks = |held: &&Held| !held.codes.contains_key(&standby);
        self.images.values().filter(lacks).count() as u64
    }
}

fn check(index: &Index, plain: &Plain, query: &Query) {
    let generations = [
        Some(plain.active),
        plain.standby.map(|(number, _)| number),
        None,
    ];
    for generation in generations {
        let number = generation.unwrap_or(plain.active);
        let query = Query {
            generation,
            sketch: width(plain.model(number)).map(|bytes| sketch(bytes, 77)),
            ..query.clone()
        };
        let found = index.search(&query).unwrap();
        assert_eq!(shown(&found), plain.search(number, &query), "{query:?}");
        if query.sketch.is_some() {
            let other = Query {
                sketch: Some(sketch(9, 1)),
                ..query
            };
            let refused = index.search(&other).unwrap_err();
            assert!(refused.to_string().contains("it has 9 bytes"), "{refused}");
        }
    }
    let generations = index.generations();
    assert_eq!(generations.active.number, plain.active);
    assert_eq!(
        generations.standby.map(|one| one.number),
        plain.standby.map(|(number, _)| number)
    );
    assert_eq!(
        (generations.missing, generations.images),
        (plain.missing(), plain.images.len() as u64)
    );
    let uncoded = plain
        .images
        .values()
        .filter(|held| held.codes[&plain.active].is_none());
    assert_eq!(index.stats().uncoded, uncoded.count() as u64);
}

fn play(steps: Vec<Step>) {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::new().unwrap();
    let mut index = open(folder.path()).unwrap();
    let mut plain = Plain {
        images: BTreeMap::new(),
        ages: Vec::new(),
        active: 1,
        model: FIRST,
        standby: None,
    };
    let everything = Query {
        code: codes(0)[0],
        sketch: None,
        radius: None,
        order: Order::Similarity {
            candidates: Some(20),
            min_similarity: None,
        },
        limit: 1000,
        offset: 0,
        filter: None,
        generation: None,
    };
    for step in steps {
        match step {
            Step::Put(number, seed, bits, both) => {
                let standby = plain.standby.filter(|_| both).map(|(standby, _)| standby);
                let numbers = [plain.active].into_iter().chain(standby);
                let made = |generation| coded((generation, plain.model(generation)), seed);
                let of = |generation| {
                    let (codes, sketch) = made(generation);
                    Codes {
                        generation,
                        codes,
                        sketch,
                    }
                };
                // Codes of an unknown generation are ignored.
                let given: Vec<_> = [99].into_iter().chain(numbers.clone()).map(of).collect();
                let new = NewImage {
                    codes: given,
                    ..image(number, seed, bits)
                };
                let (record, created) = runtime.block_on(index.put(new)).unwrap();
                assert_eq!(record.codes, made(plain.active).0);
                let codes = numbers.map(|of| (of, Some(made(of)))).collect();
                let held = Held { seed, bits, codes };
                assert_eq!(created, plain.images.insert(number, held).is_none());
                if created {
                    plain.ages.push(number);
                }
            }
            Step::Relabel(number, bits) => {
                let found = runtime.block_on(index.patch(
                    id(number),
                    Some(labels(bits)),
                    None,
                    Precondition::default(),
                ));
                let held = plain.images.get_mut(&number);
                assert_eq!(found.unwrap().is_some(), held.is_some());
                if let Some(held) = held {
                    held.bits = bits;
                }
            }
            Step::Delete(number) => {
                let deleted = runtime
                    .block_on(index.delete(id(number), Precondition::default()))
                    .unwrap();
                assert_eq!(deleted, plain.images.remove(&number).is_some());
                plain.ages.retain(|other| *other != number);
            }
            Step::Begin(model) => {
                let name = format!("model {model}");
                let wanted =
                    Generation::new(name, "fp32".to_owned(), &Length::ALL, width(model)).unwrap();
                let number = runtime.block_on(index.begin(wanted)).unwrap();
                match plain.standby {
                    Some((standby, same)) if same == model => assert_eq!(number, standby),
                    before => {
                        assert!(
                            number > plain.active.max(before.map_or(0, |(standby, _)| standby))
                        );
                        plain.standby = Some((number, model));
                    }
                }
            }
            Step::Recode(limit, leaves) => {
                let Some((standby, model)) = plain.standby else {
                    assert!(index.missing(2, 0..u32::MAX, 1).is_err());
                    continue;
                };
                let (mut missing, mut from) = (Vec::new(), Some(0));
                while let Some(page) = from {
                    let (more, next) = index.missing(standby, page..u32::MAX, 7).unwrap();
                    missing.extend(more);
                    from = next;
                }
                assert_eq!(missing.len() as u64, plain.missing());
                missing.truncate(limit);
                let mut recoded = Vec::new();
                for (at, missing) in missing.into_iter().enumerate() {
                    let uncoded = leaves && at % 3 == 0;
                    let number = plain.ages.iter().find(|number| id(**number) == missing.id);
                    let held = plain.images.get_mut(number.unwrap()).unwrap();
                    let coded = (!uncoded).then(|| coded((standby, model), held.seed));
                    held.codes.insert(standby, coded.clone());
                    let (codes, sketch) = coded.unwrap_or_default();
                    recoded.push(Recoded {
                        id: missing.id,
                        original: missing.original,
                        codes,
                        sketch,
                    });
                }
                let count = recoded.len();
                // One image with missing codes prevents the whole write.
                let mut wrong = recoded.clone();
                if wrong.last_mut().and_then(|last| last.codes.pop()).is_some() {
                    let refused = runtime.block_on(index.recode(standby, wrong));
                    assert!(
                        matches!(refused, Err(IndexError::WrongCodes { .. })),
                        "{refused:?}"
                    );
                }
                // The second time there is nothing left to do.
                for (images, done) in [(recoded.clone(), count), (recoded, 0)] {
                    assert_eq!(
                        runtime.block_on(index.recode(standby, images)).unwrap(),
                        done
                    );
                }
            }
            Step::Activate => {
                let number = plain.standby.map_or(77, |(standby, _)| standby);
                let done = runtime.block_on(index.activate(number));
                match (plain.standby, plain.missing()) {
                    (None, _) => assert!(matches!(
                        done,
                        Err(IndexError::Generation { given: 77, .. })
                    )),
                    (Some((_, model)), 0) => {
                        done.unwrap();
                        plain.standby = Some((plain.active, plain.model));
                        (plain.active, plain.model) = (number, model);
                    }
                    (_, lacking) => assert!(
                        matches!(done, Err(IndexError::Unfinished { missing, .. }) if missing == lacking)
                    ),
                }
            }
            Step::Discard => {
                runtime.block_on(index.discard()).unwrap();
                if let Some((gone, _)) = plain.standby.take() {
                    for held in plain.images.values_mut() {
                        held.codes.remove(&gone);
                    }
                }
            }
            Step::Reopen => {
                drop(index);
                index = Index::open_existing(folder.path().to_owned(), 16 << 20).unwrap();
                assert_eq!(index.verify().unwrap(), []);
                check(&index, &plain, &everything);
            }
            Step::Search(seed, radius, bits) => check(
                &index,
                &plain,
                &Query {
                    code: codes(seed)[0],
                    radius: Some(radius),
                    filter: Filter::any_label(labels(bits)),
                    ..everything.clone()
                },
            ),
        }
    }
    check(&index, &plain, &everything);
    drop(index);
    let index = Index::open_existing(folder.path().to_owned(), 16 << 20).unwrap();
    check(&index, &plain, &everything);
}

proptest! {
    #![proptest_config(cases(64, 8))]

    #[test]
    fn each_generation_answers_by_its_own_codes(steps in prop::collection::vec(step(), 1..70)) {
        play(steps);
    }
}
