//! Concurrent callers: writers that share a commit, one whose write is bad, readers next to
//! writers.

use std::sync::{Arc, atomic};

use scihcgrl_index::{
    Filter, IndexError, ListQuery, NewImage, Order, Precondition, Query, Record, SearchResult,
    code::Length,
};
use serde_json::{Value, json};

use super::{check_record, codes, id, image, labels, open, open_as};

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_concurrent_puts_survive_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let index = open(folder.path()).unwrap();
    let puts: Vec<_> = (0..500)
        .map(|number| {
            let index = index.clone();
            tokio::spawn(async move { index.put(image(number, number as u8, 1)).await.unwrap().1 })
        })
        .collect();
    for put in puts {
        assert!(put.await.unwrap());
    }
    let query = Query {
        code: codes(0)[2],
        sketch: None,
        radius: Some(48),
        order: Order::Distance,
        limit: 0,
        offset: 0,
        filter: None,
        generation: None,
    };
    assert_eq!(index.search(&query).unwrap().total, 500);
    index.close().unwrap();
    assert!(matches!(
        index.put(image(1, 1, 1)).await,
        Err(IndexError::Closed)
    ));
    assert!(matches!(
        index.delete(id(1), Precondition::default()).await,
        Err(IndexError::Closed)
    ));
    drop(index);
    let index = open(folder.path()).unwrap();
    for number in 0..500 {
        check_record(
            &index.get(&id(number)).unwrap().unwrap(),
            &image(number, number as u8, 1),
        );
    }
}

/// Enough images for segments to be merged by the writer and in the background during searches.
#[tokio::test(flavor = "multi_thread")]
async fn searches_count_right_while_segments_are_merged() {
    const IMAGES: usize = 60_000;
    let folder = tempfile::tempdir().unwrap();
    let index = open(folder.path()).unwrap();
    let next = Arc::new(atomic::AtomicUsize::new(0));
    let writers: Vec<_> = (0..500)
        .map(|_| {
            let (index, next) = (index.clone(), next.clone());
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, atomic::Ordering::Relaxed);
                    if number >= IMAGES {
                        return;
                    }
                    index.put(image(number, number as u8, 0)).await.unwrap();
                }
            })
        })
        .collect();
    let query = Query {
        code: codes(0)[1],
        sketch: None,
        radius: Some(31),
        order: Order::Distance,
        limit: 3,
        offset: 100,
        filter: None,
        generation: None,
    };
    let searching = {
        let (index, query) = (index.clone(), query.clone());
        std::thread::spawn(move || {
            let mut before = 0;
            while before < IMAGES as u64 {
                let total = index.search(&query).unwrap().total;
                assert!(total >= before && total <= IMAGES as u64);
                before = total;
            }
        })
    };
    for writer in writers {
        writer.await.unwrap();
    }
    searching.join().unwrap();
    let found = index.search(&query).unwrap();
    drop(index);
    let again = open(folder.path()).unwrap().search(&query).unwrap();
    let ids = |found: &SearchResult| -> Vec<_> {
        found
            .matches
            .iter()
            .map(|found| found.record.id.clone())
            .collect()
    };
    assert_eq!((found.total, ids(&found)), (IMAGES as u64, ids(&again)));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_write_fails_alone() {
    let folder = tempfile::tempdir().unwrap();
    let index = open(folder.path()).unwrap();
    let mut short = image(1, 1, 1);
    short.codes[0].codes.pop();
    let deep = (0..300).fold(Value::Null, |inner, _| json!([inner]));
    let deep = NewImage {
        payload: Some(deep),
        ..image(2, 2, 2)
    };
    let (short, deep, good) =
        tokio::join!(index.put(short), index.put(deep), index.put(image(3, 3, 3)));
    let short = short.unwrap_err();
    assert!(
        matches!(short, IndexError::WrongCodes { .. }) && short.to_string().contains("24, 32, 48"),
        "{short}"
    );
    assert!(matches!(deep, Err(IndexError::Payload)));
    good.unwrap();
    assert_eq!(
        index
            .list(&ListQuery {
                limit: 9,
                ..ListQuery::default()
            })
            .unwrap()
            .records
            .len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_by_a_missing_length_names_the_lengths_of_the_index() {
    let folder = tempfile::tempdir().unwrap();
    let index = open_as(folder.path(), "m", &[Length::L24, Length::L48]).unwrap();
    let query = Query {
        code: codes(0)[1],
        sketch: None,
        radius: Some(0),
        order: Order::Distance,
        limit: 1,
        offset: 0,
        filter: None,
        generation: None,
    };
    let error = index.search(&query).unwrap_err();
    assert!(
        matches!(error, IndexError::NoSuchLength { .. }) && error.to_string().contains("24, 48"),
        "{error}"
    );
}

/// Two images are replaced and deleted all the time; each reader sees them whole, as one of their
/// versions, or not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_never_see_half_an_image() {
    let folder = tempfile::tempdir().unwrap();
    let index = open(folder.path()).unwrap();
    let done = Arc::new(atomic::AtomicBool::new(false));
    let whole = |record: &Record| {
        let seed: u8 = record.media_type["image/".len()..].parse().unwrap();
        assert_eq!(record.codes, codes(seed));
        assert_eq!(
            (record.bytes, &record.labels),
            (u64::from(seed), &labels(seed))
        );
    };
    let readers: Vec<_> = (0..2)
        .map(|reader| {
            let (index, done) = (index.clone(), done.clone());
            std::thread::spawn(move || {
                while !done.load(atomic::Ordering::Relaxed) {
                    let query = Query {
                        code: codes(5)[reader],
                        sketch: None,
                        radius: Some(2),
                        order: Order::Distance,
                        limit: 9,
                        offset: 0,
                        filter: Filter::any_label(labels(1)),
                        generation: None,
                    };
                    let found = index.search(&query).unwrap();
                    assert_eq!(found.total, found.matches.len() as u64);
                    found.matches.iter().for_each(|found| {
                        whole(&found.record);
                        assert_eq!(found.code.distance(&query.code), Some(found.distance));
                        assert!(found.record.labels.contains(&labels(1)[0]));
                    });
                    index.get(&id(1)).unwrap().iter().for_each(whole);
                    let listed = index
                        .list(&ListQuery {
                            limit: 9,
                            ..ListQuery::default()
                        })
                        .unwrap();
                    listed.records.iter().for_each(whole);
                    assert_eq!(listed.total, listed.records.len() as u64);
                    let labelled = index
                        .list(&ListQuery {
                            filter: query.filter.clone(),
                            limit: 9,
                            ..ListQuery::default()
                        })
                        .unwrap();
                    assert_eq!(labelled.total, labelled.records.len() as u64);
                }
            })
        })
        .collect();
    for round in 0..120u8 {
        let (seed, other) = (round | 1, round.reverse_bits() | 1);
        let (one, two) = tokio::join!(
            index.put(image(1, seed, seed)),
            index.put(image(2, other, other))
        );
        one.and(two).unwrap();
        if round % 3 == 0 {
            assert!(
                index
                    .delete(id(1 + usize::from(round) % 2), Precondition::default())
                    .await
                    .unwrap()
            );
        }
    }
    done.store(true, atomic::Ordering::Relaxed);
    readers
        .into_iter()
        .for_each(|reader| reader.join().unwrap());
}

/// The failed write has already numbered its label.
#[tokio::test(flavor = "multi_thread")]
async fn a_label_of_a_failed_write_can_be_used_later() {
    let folder = tempfile::tempdir().unwrap();
    let index = open(folder.path()).unwrap();
    let original = index.new_original_key().await.unwrap();
    let with = |number, label: &str| NewImage {
        labels: vec![label.to_owned()],
        original: Some(original),
        ..image(number, 0, 0)
    };
    index.put(with(1, "a")).await.unwrap();
    let taken = index.put(with(2, "new")).await;
    assert!(matches!(taken, Err(IndexError::OriginalKey { .. })));
    let later = NewImage {
        original: None,
        ..with(3, "new")
    };
    index.put(later).await.unwrap();
    drop(index);
    let index = open(folder.path()).unwrap();
    assert_eq!(index.get(&id(3)).unwrap().unwrap().labels, ["new"]);
    assert_eq!(index.verify().unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_and_ids_that_differ_only_in_unicode_form_are_equal() {
    let folder = tempfile::tempdir().unwrap();
    let index = open(folder.path()).unwrap();
    let [composed, apart] = ["caf\u{e9}", "cafe\u{301}"];
    let with = |name: &str, labels: &[&str]| NewImage {
        id: name.parse().unwrap(),
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        ..image(1, 0, 0)
    };
    let (record, created) = index.put(with(composed, &[apart, composed])).await.unwrap();
    assert!(created && record.labels == [composed]);
    assert!(!index.put(with(apart, &[composed])).await.unwrap().1);
    for label in [composed, apart] {
        let listed = index
            .list(&ListQuery {
                filter: Filter::any_label(vec![label.to_owned()]),
                limit: 9,
                ..ListQuery::default()
            })
            .unwrap();
        assert_eq!(listed.records[0].id.as_str(), composed);
    }
    // Ids of any script and of many bytes are stored as they are.
    let long = "写".repeat(266);
    index.put(with(&long, &[])).await.unwrap();
    drop(index);
    let index = open(folder.path()).unwrap();
    assert!(index.get(&long.parse().unwrap()).unwrap().is_some());
    assert_eq!(index.verify().unwrap(), []);
}
