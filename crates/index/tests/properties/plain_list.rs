//! Compares the index with a plain list: same answers, same order, same totals. Uses the public
//! interface only.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use proptest::prelude::*;
use scihcgrl_index::{
    Copies, CopyGroup, Filter, ImageId, Index, IndexError, ListQuery, NewImage, OriginalKey,
    Precondition, Query, Record, SketchStorage, code::Length,
};
use serde_json::json;
use tokio::{runtime::Runtime, sync::mpsc::UnboundedReceiver};

use super::{
    Shown, cases, check_record, expected, id, image, labels, labels_in, open, open_with_sketches,
    query, shown, wanted,
};

#[derive(Clone, Debug)]
enum Step {
    Put(usize, u8, u8),
    Patch(usize, Option<u8>, Option<Option<u8>>),
    Delete(usize),
    Group(Vec<(usize, u8, u8)>),
    /// True keeps the sketches in memory, false on disk.
    Reopen(bool),
    Search(Query),
    List(usize, u8),
}

fn step() -> impl Strategy<Value = Step> {
    let image = || (0usize..90, any::<u8>(), any::<u8>());
    prop_oneof![
        8 => image().prop_map(|(number, seed, bits)| Step::Put(number, seed, bits)),
        3 => prop::collection::vec(image(), 1..40).prop_map(Step::Group),
        3 => (0usize..90, any::<Option<u8>>(), any::<Option<Option<u8>>>())
            .prop_map(|(number, bits, payload)| Step::Patch(number, bits, payload)),
        5 => (0usize..90).prop_map(Step::Delete),
        1 => any::<bool>().prop_map(Step::Reopen),
        8 => query().prop_map(Step::Search),
        2 => (1usize..50, 0u8..16).prop_map(|(limit, bits)| Step::List(limit, bits)),
    ]
}

/// The images in order of age.
#[derive(Default)]
struct Model(Vec<NewImage>);

impl Model {
    fn put(&mut self, image: NewImage) -> bool {
        match self.0.iter_mut().find(|old| old.id == image.id) {
            Some(old) => *old = image,
            None => {
                self.0.push(image);
                return true;
            }
        }
        false
    }

    fn originals(&self) -> HashMap<OriginalKey, u64> {
        let named = |image: &NewImage| Some((image.original?, image.bytes));
        self.0.iter().filter_map(named).collect()
    }

    /// The images with any of some labels, or all.
    fn with(&self, labels: &[String]) -> impl Iterator<Item = &NewImage> {
        let has = |image: &NewImage| image.labels.iter().any(|label| labels.contains(label));
        let images = self.0.iter();
        images.filter(move |image| labels.is_empty() || has(image))
    }

    /// Counts equal items, the most frequent first.
    fn counted<T: Ord + Clone>(of: impl Iterator<Item = T>) -> Vec<(T, u64)> {
        let mut counts = BTreeMap::new();
        of.for_each(|one| *counts.entry(one).or_insert(0) += 1);
        let mut counts: Vec<(T, u64)> = counts.into_iter().collect();
        counts.sort_by_key(|(_, count)| Reverse(*count));
        counts
    }

    fn search(&self, query: &Query) -> (u64, bool, Vec<Shown>) {
        let labels = labels_in(query);
        let images = self.with(&labels);
        let all = images.filter_map(|image| {
            let of = &image.codes[0];
            let code = of.codes.iter();
            let code = *code
                .clone()
                .find(|code| code.length() == query.code.length())?;
            let distance = code.distance(&query.code)?;
            let near = query.radius.is_none_or(|radius| distance <= radius);
            near.then(|| (distance, code, image.id.clone(), of.sketch.as_ref()))
        });
        expected(all.collect(), query)
    }
}

/// Compares the labels with their numbers of images, and the sharing of codes.
fn check_overview(index: &Index, model: &Model) {
    let labels = model.0.iter().flat_map(|image| {
        let distinct: BTreeSet<&String> = image.labels.iter().collect();
        distinct.into_iter().cloned()
    });
    let mut found = index.labels(usize::MAX).unwrap();
    found.sort_by_key(|found| (Reverse(found.images), found.label.clone()));
    let found: Vec<_> = found.into_iter().map(|of| (of.label, of.images)).collect();
    assert_eq!(found, Model::counted(labels));
    for (at, length) in Length::ALL.into_iter().enumerate() {
        let words = model.0.iter().map(|image| image.codes[0].codes[at].word());
        let expected = Model::counted(words);
        let sharing = index.sharing(length).unwrap();
        assert_eq!(sharing.images, model.0.len() as u64);
        assert_eq!(sharing.distinct, expected.len() as u64);
        for class in sharing.buckets {
            let of = |count: &u64| (class.from..2 * class.from).contains(count);
            let of: Vec<u64> = expected.iter().map(|one| one.1).filter(of).collect();
            assert_eq!(
                (class.codes, class.images),
                (of.len() as u64, of.iter().sum())
            );
        }
    }
}

/// Compares the groups of copies: each is its oldest image and all younger ones that are similar
/// enough to it and in no earlier group.
fn check_copies(index: &Index, model: &Model) {
    for min_similarity in [0.5, 0.9, 1.0] {
        let mut left: Vec<&NewImage> = model.0.iter().collect();
        let mut expected = Vec::new();
        while !left.is_empty() {
            let oldest = left.remove(0);
            let like = |image: &NewImage| {
                let [one, other] = [oldest, image].map(|image| image.codes[0].sketch.as_ref());
                one.unwrap().similarity(other.unwrap())
            };
            let (copies, others): (Vec<_>, Vec<_>) = left
                .into_iter()
                .partition(|image| like(image) >= min_similarity);
            left = others;
            if !copies.is_empty() {
                let copies = copies.into_iter().map(|copy| (&copy.id, like(copy)));
                expected.push((&oldest.id, copies.collect::<Vec<_>>()));
            }
        }
        expected.sort_by_key(|(_, copies)| Reverse(copies.len()));
        let found = index
            .find_copies(1, min_similarity, &mut |_, _| true)
            .unwrap();
        let found = Copies::from_bytes(&found.unwrap().to_bytes().unwrap()).unwrap();
        assert_eq!(found.commit, index.commit());
        let groups = index.groups(&found, 0, usize::MAX, usize::MAX).unwrap();
        let shown_copies = |group: &CopyGroup| -> Vec<(ImageId, f32)> {
            let copies = group.copies.iter();
            copies
                .map(|(record, alike)| (record.id.clone(), *alike))
                .collect()
        };
        assert_eq!(groups.len(), expected.len());
        for (group, (oldest, copies)) in groups.iter().zip(expected) {
            assert_eq!((&group.oldest.id, group.images), (oldest, copies.len() + 1));
            let copies: Vec<_> = copies
                .into_iter()
                .map(|(id, of)| (id.clone(), of))
                .collect();
            assert_eq!(shown_copies(group), copies);
            for (number, (id, _)) in copies.iter().enumerate() {
                let of = index.group_of(&found, id, number, 1).unwrap().unwrap();
                assert_eq!(shown_copies(&of), copies[number..=number]);
            }
        }
    }
}

/// Compares everything that the index returns with the model.
fn check_all(index: &Index, model: &Model) {
    check_overview(index, model);
    check_copies(index, model);
    let images: Vec<&NewImage> = model.0.iter().collect();
    let records = index
        .list(&ListQuery {
            limit: usize::MAX,
            ..ListQuery::default()
        })
        .unwrap()
        .records;
    assert_eq!(records.len(), images.len());
    for (record, image) in records.iter().zip(images) {
        check_record(record, image);
    }
    assert_eq!(index.originals().unwrap(), model.originals());
    assert_eq!(index.verify().unwrap(), []);
    let stats = index.stats();
    assert_eq!(
        (stats.images, stats.generation, stats.schema),
        (model.0.len() as u64, 1, 7)
    );
    for (at, length) in Length::ALL.into_iter().enumerate() {
        let word = |image: &NewImage| image.codes[0].codes[at].word();
        let distinct: BTreeSet<u64> = model.0.iter().map(word).collect();
        assert_eq!(stats.distinct_codes[&length], distinct.len() as u64);
    }
}

/// The original keys released so far.
fn released_so_far(keys: &mut UnboundedReceiver<OriginalKey>) -> Vec<OriginalKey> {
    std::iter::from_fn(|| keys.try_recv().ok()).collect()
}

fn play(steps: Vec<Step>) {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::new().unwrap();
    let (mut index, mut model) = (open(folder.path()).unwrap(), Model::default());
    let mut released = index.released_originals().unwrap();
    // The allocated keys whose originals may exist.
    let mut allocated = BTreeSet::new();
    for step in steps {
        match step {
            Step::Put(number, seed, bits) => {
                let mut image = image(number, seed, bits);
                let commit = index.commit();
                if bits % 2 == 0 {
                    let key = runtime.block_on(index.new_original_key()).unwrap();
                    assert!(allocated.insert(key), "{key} was allocated twice");
                    assert_eq!(index.commit(), commit, "no image has changed");
                    image.original = Some(key);
                }
                let before = index.get(&image.id).unwrap();
                let (record, created) = runtime.block_on(index.put(image.clone())).unwrap();
                check_record(&record, &image);
                assert!(index.commit() > commit);
                assert_eq!(created, model.put(image));
                assert!(before.is_none_or(|before| before.created_at_ms == record.created_at_ms));
            }
            Step::Group(images) => {
                let futures: Vec<_> = images
                    .iter()
                    .map(|&(number, seed, bits)| {
                        let (index, image) = (index.clone(), image(number, seed, bits));
                        model.put(image.clone());
                        async move { index.put(image).await }
                    })
                    .collect();
                runtime.block_on(in_order(futures));
            }
            Step::Patch(number, bits, payload) => {
                let payload = payload.map(|payload| payload.map(|number| json!(number)));
                let new = bits.map(labels);
                let found = runtime
                    .block_on(index.patch(
                        id(number),
                        new.clone(),
                        payload.clone(),
                        Precondition::default(),
                    ))
                    .unwrap();
                let image = model.0.iter_mut().find(|image| image.id == id(number));
                assert_eq!(found.is_some(), image.is_some());
                if let (Some(record), Some(image)) = (found, image) {
                    image.labels = new.unwrap_or(std::mem::take(&mut image.labels));
                    image.payload = payload.unwrap_or(image.payload.take());
                    check_record(&record, image);
                }
            }
            Step::Delete(number) => {
                let there = model.0.len();
                model.0.retain(|image| image.id != id(number));
                let deleted = runtime
                    .block_on(index.delete(id(number), Precondition::default()))
                    .unwrap();
                assert_eq!(deleted, model.0.len() < there);
                assert!(index.get(&id(number)).unwrap().is_none());
            }
            Step::Reopen(in_memory) => {
                drop(index);
                let storage = if in_memory {
                    SketchStorage::Memory
                } else {
                    SketchStorage::Disk
                };
                index = open_with_sketches(folder.path(), storage).unwrap();
                released = index.released_originals().unwrap();
                let unreferenced = released_so_far(&mut released);
                let referenced = model.originals();
                let is_unreferenced = |key: &&OriginalKey| !referenced.contains_key(*key);
                assert!(
                    allocated
                        .iter()
                        .filter(is_unreferenced)
                        .all(|key| unreferenced.contains(key))
                );
                assert!(unreferenced.iter().all(|key| is_unreferenced(&key)));
                allocated.retain(|key| referenced.contains_key(key));
                runtime
                    .block_on(index.forget_originals(unreferenced))
                    .unwrap();
                check_all(&index, &model);
            }
            Step::Search(query) => {
                let found = index.search(&query).unwrap();
                assert_eq!(shown(&found), model.search(&query), "{query:?}");
                for found in &found.matches {
                    check_record(
                        &found.record,
                        model
                            .0
                            .iter()
                            .find(|image| image.id == found.record.id)
                            .unwrap(),
                    );
                }
            }
            Step::List(limit, bits) => {
                let wanted = wanted(bits);
                let filter = Filter::any_label(wanted.clone());
                let expected: Vec<&NewImage> = model.with(&wanted).collect();
                let (mut listed, mut from) = (Vec::new(), None);
                loop {
                    let page = index
                        .list(&ListQuery {
                            filter: filter.clone(),
                            after: from.clone(),
                            limit,
                            ..ListQuery::default()
                        })
                        .unwrap();
                    assert!(page.records.len() == limit || page.next.is_none());
                    assert_eq!(page.total, expected.len() as u64);
                    listed.extend(page.records);
                    from = page.next;
                    if from.is_none() {
                        break;
                    }
                }
                assert_eq!(listed.len(), expected.len());
                for (record, image) in listed.iter().zip(expected) {
                    check_record(record, image);
                }
            }
        }
    }
    check_all(&index, &model);
    // No released key belongs to an image.
    let released = released_so_far(&mut released);
    assert!(
        released
            .iter()
            .all(|key| !model.originals().contains_key(key))
    );
}

/// Polls all futures in order, so that the writes reach the writer in order and share groups.
async fn in_order<F: Future<Output = Result<(Record, bool), IndexError>>>(futures: Vec<F>) {
    let mut waiting: Vec<_> = futures.into_iter().map(Box::pin).collect();
    std::future::poll_fn(|context| {
        waiting.retain_mut(|future| match future.as_mut().poll(context) {
            std::task::Poll::Ready(done) => done.map(|_| false).unwrap(),
            std::task::Poll::Pending => true,
        });
        if waiting.is_empty() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}

proptest! {
    #![proptest_config(cases(48, 7))]

    #[test]
    fn the_index_does_what_a_plain_list_does(steps in prop::collection::vec(step(), 1..60)) {
        play(steps);
    }
}
