//! Changes of generations against a plain list: whatever is written meanwhile, each generation answers by its own codes, all of them.
//! Knows nothing of models; a generation's codes are made of its number.

use std::collections::BTreeMap;

use proptest::prelude::*;
use scihcgrl_index::{
    Codes, Expected, Generation, Index, IndexError, NewImage, Query, Recoded,
    code::{HashCode, Length},
};
use tokio::runtime::Runtime;

use super::{cases, codes, id, image, labels, open};

#[derive(Clone, Debug)]
enum Step {
    /// With codes of the generation beside or without.
    Put(usize, u8, u8, bool),
    Relabel(usize, u8),
    Delete(usize),
    /// Of one of three models.
    Begin(u8),
    /// At most so many of those that lack codes; every third is left out where it says so.
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
        4 => (1usize..90, any::<bool>()).prop_map(|(most, leaves)| Step::Recode(most, leaves)),
        3 => Just(Step::Activate),
        1 => Just(Step::Discard),
        1 => Just(Step::Reopen),
        6 => (any::<u8>(), 0u32..=24, 0u8..8)
            .prop_map(|(seed, radius, bits)| Step::Search(seed, radius, bits)),
    ]
}

/// An image of the plain list.
#[derive(Clone, Debug)]
struct Held {
    seed: u8,
    bits: u8,
    /// In each generation that knows of it: its codes, or that it is left out.
    codes: BTreeMap<u32, Option<Vec<HashCode>>>,
}

/// A generation's codes of an image.
fn coded(generation: u32, seed: u8) -> Vec<HashCode> {
    codes(seed.wrapping_mul(2 * generation as u8 + 1))
}

struct Plain {
    images: BTreeMap<usize, Held>,
    /// Numbers in order of age.
    ages: Vec<usize>,
    active: u32,
    /// Of which model.
    model: u8,
    beside: Option<(u32, u8)>,
}

impl Plain {
    fn search(&self, generation: u32, query: &Query) -> (u64, Vec<(u32, HashCode, String)>) {
        let held = self
            .ages
            .iter()
            .map(|number| (*number, &self.images[number]));
        let wanted = |held: &Held| {
            let own = labels(held.bits);
            query.labels.is_empty() || own.iter().any(|label| query.labels.contains(label))
        };
        let hits = held
            .filter(|(_, held)| wanted(held))
            .filter_map(|(number, held)| {
                let codes = held.codes.get(&generation)?.as_ref()?;
                let code = codes
                    .iter()
                    .find(|code| code.length() == query.code.length())?;
                Some((code.distance(&query.code)?, *code, id(number).to_string()))
            });
        let mut hits: Vec<_> = hits.filter(|hit| hit.0 <= query.radius).collect();
        hits.sort_by_key(|(distance, code, _)| (*distance, code.word()));
        (hits.len() as u64, hits)
    }

    fn missing(&self) -> u64 {
        let Some((beside, _)) = self.beside else {
            return 0;
        };
        let lacks = |held: &&Held| !held.codes.contains_key(&beside);
        self.images.values().filter(lacks).count() as u64
    }
}

fn check(index: &Index, plain: &Plain, query: &Query) {
    let generations = [
        Some(plain.active),
        plain.beside.map(|(number, _)| number),
        None,
    ];
    for generation in generations {
        let query = Query {
            generation,
            ..query.clone()
        };
        let found = index.search(&query).unwrap();
        let flat = found
            .matches
            .iter()
            .map(|found| (found.distance, found.code, found.record.id.to_string()));
        let expected = plain.search(generation.unwrap_or(plain.active), &query);
        assert_eq!((found.total, flat.collect()), expected, "{query:?}");
    }
    let facts = index.generations();
    assert_eq!(facts.active.number, plain.active);
    assert_eq!(
        facts.beside.map(|one| one.number),
        plain.beside.map(|(number, _)| number)
    );
    assert_eq!(
        (facts.missing, facts.images),
        (plain.missing(), plain.images.len() as u64)
    );
    let left_out = plain
        .images
        .values()
        .filter(|held| held.codes[&plain.active].is_none());
    assert_eq!(index.facts().left_out, left_out.count() as u64);
}

fn play(steps: Vec<Step>) {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::new().unwrap();
    let mut index = open(folder.path()).unwrap();
    let mut plain = Plain {
        images: BTreeMap::new(),
        ages: Vec::new(),
        active: 1,
        model: 255,
        beside: None,
    };
    let everything = Query {
        code: codes(0)[0],
        radius: 24,
        limit: 1000,
        offset: 0,
        labels: Vec::new(),
        generation: None,
    };
    for step in steps {
        match step {
            Step::Put(number, seed, bits, both) => {
                let beside = plain.beside.filter(|_| both).map(|(beside, _)| beside);
                let numbers = [plain.active].into_iter().chain(beside);
                let of = |generation| Codes {
                    generation,
                    codes: coded(generation, seed),
                };
                // A generation that is no more counts for nothing.
                let given: Vec<_> = [99].into_iter().chain(numbers.clone()).map(of).collect();
                let new = NewImage {
                    codes: given,
                    ..image(number, seed, bits)
                };
                let (record, created) = runtime.block_on(index.put(new)).unwrap();
                assert_eq!(record.codes, coded(plain.active, seed));
                let codes = numbers.map(|of| (of, Some(coded(of, seed)))).collect();
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
                    Expected::default(),
                ));
                let held = plain.images.get_mut(&number);
                assert_eq!(found.unwrap().is_some(), held.is_some());
                if let Some(held) = held {
                    held.bits = bits;
                }
            }
            Step::Delete(number) => {
                let deleted = runtime
                    .block_on(index.delete(id(number), Expected::default()))
                    .unwrap();
                assert_eq!(deleted, plain.images.remove(&number).is_some());
                plain.ages.retain(|other| *other != number);
            }
            Step::Begin(model) => {
                let name = format!("model {model}");
                let wanted = Generation::new(name, "fp32".to_owned(), &Length::ALL).unwrap();
                let number = runtime.block_on(index.begin(wanted)).unwrap();
                match plain.beside {
                    Some((beside, same)) if same == model => assert_eq!(number, beside),
                    before => {
                        assert!(number > plain.active.max(before.map_or(0, |(beside, _)| beside)));
                        plain.beside = Some((number, model));
                    }
                }
            }
            Step::Recode(most, leaves) => {
                let Some((beside, _)) = plain.beside else {
                    assert!(index.missing(2, 0..u32::MAX, 1).is_err());
                    continue;
                };
                let (mut missing, mut from) = (Vec::new(), Some(0));
                while let Some(page) = from {
                    let (more, next) = index.missing(beside, page..u32::MAX, 7).unwrap();
                    missing.extend(more);
                    from = next;
                }
                assert_eq!(missing.len() as u64, plain.missing());
                missing.truncate(most);
                let mut recoded = Vec::new();
                for (at, missing) in missing.into_iter().enumerate() {
                    let left_out = leaves && at % 3 == 0;
                    let number = plain.ages.iter().find(|number| id(**number) == missing.id);
                    let held = plain.images.get_mut(number.unwrap()).unwrap();
                    let codes = (!left_out).then(|| coded(beside, held.seed));
                    held.codes.insert(beside, codes.clone());
                    recoded.push(Recoded {
                        id: missing.id,
                        original: missing.original,
                        codes: codes.unwrap_or_default(),
                    });
                }
                let count = recoded.len();
                // The second time there is nothing left to do.
                for (images, done) in [(recoded.clone(), count), (recoded, 0)] {
                    assert_eq!(
                        runtime.block_on(index.recode(beside, images)).unwrap(),
                        done
                    );
                }
            }
            Step::Activate => {
                let number = plain.beside.map_or(77, |(beside, _)| beside);
                let done = runtime.block_on(index.activate(number));
                match (plain.beside, plain.missing()) {
                    (None, _) => assert!(matches!(
                        done,
                        Err(IndexError::Generation { given: 77, .. })
                    )),
                    (Some((_, model)), 0) => {
                        done.unwrap();
                        plain.beside = Some((plain.active, plain.model));
                        (plain.active, plain.model) = (number, model);
                    }
                    (_, lacking) => assert!(
                        matches!(done, Err(IndexError::Unfinished { missing, .. }) if missing == lacking)
                    ),
                }
            }
            Step::Discard => {
                runtime.block_on(index.discard()).unwrap();
                if let Some((gone, _)) = plain.beside.take() {
                    for held in plain.images.values_mut() {
                        held.codes.remove(&gone);
                    }
                }
            }
            Step::Reopen => {
                drop(index);
                index = Index::open_present(folder.path().to_owned(), 16 << 20).unwrap();
                assert_eq!(index.verify().unwrap(), []);
                check(&index, &plain, &everything);
            }
            Step::Search(seed, radius, bits) => check(
                &index,
                &plain,
                &Query {
                    code: codes(seed)[0],
                    radius,
                    labels: labels(bits),
                    ..everything.clone()
                },
            ),
        }
    }
    check(&index, &plain, &everything);
    drop(index);
    let index = Index::open_present(folder.path().to_owned(), 16 << 20).unwrap();
    check(&index, &plain, &everything);
}

proptest! {
    #![proptest_config(cases(64, 8))]

    #[test]
    fn each_generation_answers_by_its_own_codes(steps in prop::collection::vec(step(), 1..70)) {
        play(steps);
    }
}
