//! Measures a fine-tuned model and its parent: held-out images are searched for among the training
//! images.

use std::collections::BTreeSet;

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

use crate::{
    eval::{
        self, LabelledCode,
        encode::{CodedItem, encode},
    },
    jobs::{
        learning::process::progress::rounded,
        options::{FineTune, share_of},
    },
    model::Hasher,
    train::data::{Collection, Item},
};

/// The items to train on, and those held out to compare the models, by number.
pub(crate) struct Split {
    pub training: Vec<usize>,
    pub held_out: Vec<usize>,
}

impl Split {
    /// Holds out a share of each class, drawn at random; an item of several classes counts for the
    /// first one. At least one image of a class is held out if it has two, and at least one is
    /// trained on.
    pub fn of(collection: &Collection, options: &FineTune) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
        let mut members = vec![Vec::new(); collection.classes.len()];
        for (number, item) in collection.items.iter().enumerate() {
            members[collection.sets[item.set][0]].push(number);
        }
        let (mut training, mut held_out) = (Vec::new(), Vec::new());
        for mut class in members {
            class.shuffle(&mut rng);
            class.truncate(options.per_class.unwrap_or(usize::MAX));
            let share = share_of(class.len(), options.validation_fraction);
            let kept = share.max(1).min(class.len().saturating_sub(1));
            held_out.extend(class.drain(..kept));
            training.extend(class);
        }
        training.sort_unstable();
        held_out.sort_unstable();
        Split { training, held_out }
    }
}

/// Returns at most `limit` of the given items of each class.
pub(crate) fn of_each_class<'a>(
    collection: &'a Collection,
    of: &[usize],
    limit: usize,
) -> Vec<&'a Item> {
    let mut taken = vec![0; collection.classes.len()];
    let items = of.iter().map(|&number| &collection.items[number]);
    let few = items.filter(|item| {
        let class = collection.sets[item.set][0];
        taken[class] += 1;
        taken[class] <= limit
    });
    few.collect()
}

/// Measures MAP and precision within radius 2 by length: of all queries, of those of classes that
/// the parent knew, and of the others.
pub(crate) fn quality(
    hasher: &Hasher,
    collection: &Collection,
    known: &BTreeSet<String>,
    (queries, database): (&[&Item], &[&Item]),
    options: &FineTune,
) -> anyhow::Result<Value> {
    let (queries, database) = (encode(hasher, queries)?, encode(hasher, database)?);
    let is_known = |set: usize| {
        let mut classes = collection.sets[set].iter();
        classes.any(|&class| known.contains(&collection.classes[class]))
    };
    let groups: [(&str, &dyn Fn(usize) -> bool); 3] = [
        ("all", &|_| true),
        ("old", &is_known),
        ("new", &|set| !is_known(set)),
    ];
    let mut measured = Map::new();
    for (name, wanted) in groups {
        let mut by_length = Map::new();
        for (head, length) in hasher.card().lengths.iter().enumerate() {
            let labelled = |(set, codes): &CodedItem| (codes[head], *set);
            let queries = queries.iter().filter(|(set, _)| wanted(*set)).map(labelled);
            let queries: Vec<LabelledCode> = queries.collect();
            if queries.is_empty() {
                continue;
            }
            let database: Vec<LabelledCode> = database.iter().map(labelled).collect();
            let quality = eval::quality(&queries, &database, &collection.sets, options.seed);
            let figures = json!({
                "map": rounded(quality.map), "precision_radius_2": rounded(quality.precision_radius_2),
                "queries": queries.len(),
            });
            by_length.insert(length.to_string(), figures);
        }
        measured.insert(name.to_owned(), by_length.into());
    }
    Ok(measured.into())
}
