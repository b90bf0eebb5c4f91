//! What a model and the one that it was made of are compared by: images kept from training, searched for among those learned from.
//! Knows classes, codes and figures; neither how models are trained nor what becomes of them.

use std::collections::BTreeSet;

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

use crate::{
    eval::{self, Labelled},
    jobs::options::FineTune,
    model::Hasher,
    train::{
        data::{Collection, Item},
        encode::{Coded, encode},
    },
};

/// Which items are learned from, and which are kept to compare the models by.
pub(crate) struct Parts {
    pub training: Vec<usize>,
    pub held_out: Vec<usize>,
}

impl Parts {
    /// A share of each class, drawn at random; an item of several classes counts with the first. A class keeps at least one image, and
    /// gives one where it has two.
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
            let share = (class.len() as f64 * options.validation_fraction).round() as usize;
            let kept = share.max(1).min(class.len().saturating_sub(1));
            held_out.extend(class.drain(..kept));
            training.extend(class);
        }
        training.sort_unstable();
        held_out.sort_unstable();
        Parts { training, held_out }
    }
}

/// At most so many of some items of each class.
pub(crate) fn of_each_class<'a>(
    collection: &'a Collection,
    of: &[usize],
    most: usize,
) -> Vec<&'a Item> {
    let mut taken = vec![0; collection.classes.len()];
    let items = of.iter().map(|&number| &collection.items[number]);
    let few = items.filter(|item| {
        let class = collection.sets[item.set][0];
        taken[class] += 1;
        taken[class] <= most
    });
    few.collect()
}

/// MAP and precision within radius 2 by length: of all queries, of those of classes that the first model knew, and of the others.
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
            let labelled = |(set, codes): &Coded| (codes[head], *set);
            let queries = queries.iter().filter(|(set, _)| wanted(*set)).map(labelled);
            let queries: Vec<Labelled> = queries.collect();
            if queries.is_empty() {
                continue;
            }
            let database: Vec<Labelled> = database.iter().map(labelled).collect();
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

pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
