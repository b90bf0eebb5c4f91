//! The measures against their definitions, on databases so small that all orders can be tried.

use proptest::prelude::*;
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use scihcgrl_index::code::{HashCode, Length};

use crate::eval::{
    curve::{AtRadius, PrecisionAt},
    quality::{Quality, *},
    ranking::{LabelledCode, Ranker},
};

fn code(word: u64) -> HashCode {
    HashCode::from_word(Length::L24, word)
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9
}

#[test]
fn a_worked_ranking() {
    // Ranks: same, other, same: AP = (1/1 + 2/3) / 2. Within radius 2: the first two.
    let database = [(code(0), 0), (code(1), 1), (code(7), 0)];
    let quality = quality(&[(code(0), 0)], &database, &single_label(2), 0);
    assert!(near(quality.map, 5.0 / 6.0));
    assert!(near(quality.map_shuffled, 5.0 / 6.0));
    assert_eq!(
        (quality.precision_radius_2, quality.recall_radius_2),
        (0.5, 0.5)
    );
    assert_eq!(
        (quality.images_radius_2, quality.empty_radius_2),
        (2.0, 0.0)
    );
    let first = PrecisionAt {
        n: 1,
        precision: 1.0,
    };
    assert_eq!(quality.precision_at, [first]);
    assert_eq!(quality.curve.len(), 25);
    let last = AtRadius {
        radius: 24,
        answered: 1.0,
        precision: 2.0 / 3.0,
        recall: 1.0,
    };
    assert_eq!((quality.curve[3].recall, quality.curve[24]), (1.0, last));
}

#[test]
fn an_empty_ball_counts_as_0() {
    let queries = [(code(0), 0), (code(0xff), 0)];
    let quality = quality(&queries, &[(code(0xff), 0)], &single_label(1), 0);
    assert_eq!((quality.map, quality.precision_radius_2), (1.0, 0.5));
    assert_eq!(
        (quality.recall_radius_2, quality.empty_radius_2),
        (0.5, 0.5)
    );
    // On the curve it is left out of precision, and counted in `answered`.
    let point = quality.curve[2];
    assert_eq!(
        (point.answered, point.precision, point.recall),
        (0.5, 1.0, 0.5)
    );
}

#[test]
fn images_of_several_classes_count_in_each() {
    let sets = [vec![0, 1], vec![1, 2], vec![3], vec![]];
    let database = [(code(0), 1), (code(1), 2), (code(3), 3)];
    let queries = [(code(0), 0), (code(1), 2), (code(0), 3), (code(0), 9)];
    let quality = quality(&queries, &database, &sets, 0);
    // Set 3, and a set that does not exist, have no class: they are relevant to nothing, not even
    // to themselves.
    assert!(near(quality.map, (1.0 + 1.0 + 0.0 + 0.0) / 4.0));
    let classes: Vec<usize> = quality.classes.iter().map(|class| class.class).collect();
    assert_eq!(classes, [0, 1, 3]);
    assert!(
        quality
            .classes
            .iter()
            .all(|class| class.queries == 1 && near(class.map, 1.0))
    );
    assert!(near(quality.classes[2].precision_radius_2, 1.0 / 3.0));
}

#[test]
fn entropies_of_worked_codes() {
    // Bit 1 is set in half of them, bit 2 in a quarter, the other 22 in none.
    let database: Vec<LabelledCode> = [0, 0, 1, 3].map(|word| (code(word), 0)).into();
    let quality = quality(&[(code(0), 0)], &database, &single_label(1), 0);
    assert_eq!(quality.distinct_codes, 3);
    assert!(near(quality.code_entropy, 1.5));
    let quarter = -(0.25f64.log2() * 0.25 + 0.75f64.log2() * 0.75);
    assert!(near(quality.bit_entropy, (1.0 + quarter) / 24.0));
}

#[test]
fn empty_inputs_give_finite_figures() {
    let nothing = quality(&[], &[], &[], 0);
    assert_eq!(nothing, Quality::default());
    let alone = quality(&[(code(0), 0)], &[], &single_label(1), 0);
    assert_eq!(
        (alone.map, alone.recall_radius_2, alone.empty_radius_2),
        (0.0, 0.0, 1.0)
    );
}

/// Codes that differ in few bits, so that many are at one distance.
fn labelled(images: std::ops::Range<usize>) -> impl Strategy<Value = Vec<LabelledCode>> {
    prop::collection::vec((0u64..32, 0usize..5), images).prop_map(|images| {
        images
            .into_iter()
            .map(|(word, set)| (code(word), set))
            .collect()
    })
}

fn label_sets() -> impl Strategy<Value = Vec<Vec<usize>>> {
    prop::collection::vec(prop::collection::vec(0usize..4, 0..3), 4)
}

fn distance(a: &LabelledCode, b: &LabelledCode) -> u32 {
    a.0.distance(&b.0).unwrap()
}

/// Returns, in order of distance and then in the given order, true for images that share a class
/// with the query.
fn ranked(query: &LabelledCode, database: &[LabelledCode], sets: &[Vec<usize>]) -> Vec<bool> {
    let classes_of = |set: usize| sets.get(set).cloned().unwrap_or_default();
    let mut order = database.to_vec();
    order.sort_by_key(|other| distance(query, other));
    order
        .iter()
        .map(|(_, set)| {
            classes_of(*set)
                .iter()
                .any(|class| classes_of(query.1).contains(class))
        })
        .collect()
}

fn average_precision(ranked: &[bool]) -> f64 {
    let all = ranked.iter().filter(|&&relevant| relevant).count();
    let precision_at = |i: usize| share(&ranked[..=i]);
    let sum: f64 = (0..ranked.len())
        .filter(|&i| ranked[i])
        .map(precision_at)
        .sum();
    sum / all.max(1) as f64
}

fn share(ranked: &[bool]) -> f64 {
    let relevant = ranked.iter().filter(|&&relevant| relevant).count();
    relevant as f64 / ranked.len().max(1) as f64
}

fn orders(items: &[LabelledCode]) -> Vec<Vec<LabelledCode>> {
    let Some((last, rest)) = items.split_last() else {
        return vec![Vec::new()];
    };
    let inserted = |order: &Vec<LabelledCode>, place: usize| {
        let mut order = order.clone();
        order.insert(place, *last);
        order
    };
    orders(rest)
        .iter()
        .flat_map(|order| {
            (0..=order.len())
                .map(|place| inserted(order, place))
                .collect::<Vec<_>>()
        })
        .collect()
}

fn mean(figures: impl Iterator<Item = f64> + Clone) -> f64 {
    figures.clone().sum::<f64>() / figures.count().max(1) as f64
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// A figure in expectation over ties is the mean over all orders.
    #[test]
    fn tie_aware_is_the_mean_over_orders(query in labelled(1..2), database in labelled(0..7), sets in label_sets()) {
        let ranking = Ranker::new(&database, &sets).rank(&query[0]);
        let orders: Vec<Vec<bool>> = orders(&database).iter().map(|order| ranked(&query[0], order, &sets)).collect();
        prop_assert!(near(ranking.ap, mean(orders.iter().map(|order| average_precision(order)))));
        prop_assert!(near(ranking.ap_shuffled, average_precision(&ranked(&query[0], &database, &sets))));
        for n in 1..=database.len() {
            prop_assert!(near(ranking.precision_at(n), mean(orders.iter().map(|order| share(&order[..n])))));
        }
    }

    /// Every figure is the mean of its definition over the queries.
    #[test]
    fn figures_agree_with_their_definitions(queries in labelled(1..9), database in labelled(0..40), sets in label_sets(), seed in 0u64..9) {
        let quality = quality(&queries, &database, &sets, seed);
        let mut shuffled = database.clone();
        shuffled.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        let all = |query: &LabelledCode| ranked(query, &shuffled, &sets);
        let ball = |query: &LabelledCode, radius: usize| {
            let images = database.iter().filter(|other| distance(query, other) as usize <= radius).count();
            all(query)[..images].to_vec()
        };
        let found = |ranked: &[bool]| ranked.iter().filter(|&&relevant| relevant).count();
        let recall = |query: &LabelledCode, radius| found(&ball(query, radius)) as f64 / found(&all(query)).max(1) as f64;
        prop_assert!(near(quality.map_shuffled, mean(queries.iter().map(|query| average_precision(&all(query))))));
        prop_assert!(near(quality.precision_radius_2, mean(queries.iter().map(|query| share(&ball(query, 2))))));
        prop_assert!(near(quality.recall_radius_2, mean(queries.iter().map(|query| recall(query, 2)))));
        prop_assert!(near(quality.images_radius_2, mean(queries.iter().map(|query| ball(query, 2).len() as f64))));
        for point in &quality.curve {
            let answered: Vec<_> = queries.iter().filter(|query| !ball(query, point.radius).is_empty()).collect();
            prop_assert!(near(point.answered, answered.len() as f64 / queries.len() as f64));
            prop_assert!(near(point.precision, mean(answered.iter().map(|query| share(&ball(query, point.radius))))));
            prop_assert!(near(point.recall, mean(queries.iter().map(|query| recall(query, point.radius)))));
        }
        prop_assert!(near(quality.empty_radius_2, 1.0 - quality.curve[2].answered));
        for class in &quality.classes {
            let of_class = queries.iter().filter(|query| sets.get(query.1).is_some_and(|set| set.contains(&class.class)));
            prop_assert_eq!(class.queries, of_class.clone().count());
            prop_assert!(near(class.precision_radius_2, mean(of_class.map(|query| share(&ball(query, 2))))));
        }
    }
}
