//! Splits a data set into queries, training images and database, as retrieval papers do, and into
//! training and validation images.

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::{
    options::check_option,
    train::{
        data::{collection::Collection, pictures::Pictures},
        error::TrainError,
    },
};

/// Numbers of items, each list sorted; no item is in two lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The images that are searched by.
    pub queries: Vec<usize>,
    /// The images that a model may be trained on.
    pub training: Vec<usize>,
    /// The images that are searched; the training images can belong to the database too.
    pub database: Vec<usize>,
}

impl Split {
    /// Draws queries, then training images, at random but balanced: the classes take turns, and
    /// each takes one of its images that is not drawn yet. CIFAR-10's protocol is 1,000 and 5,000
    /// images: 100 and 500 per class.
    ///
    /// Draws fewer training images if fewer are left.
    ///
    /// # Errors
    /// [`TrainError::Option`] if there are no queries, or no image is left after them.
    pub fn draw(
        collection: &Collection,
        queries: usize,
        training: usize,
        seed: u64,
    ) -> Result<Split, TrainError> {
        let images = collection.items.len();
        check_option(
            "the number of queries",
            format_args!("{queries} of {images} images"),
            (1..images).contains(&queries),
            "at least 1 and leave at least one other image",
        )?;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut members = vec![Vec::new(); collection.classes.len()];
        for (number, item) in collection.items.iter().enumerate() {
            for &class in &collection.sets[item.set] {
                members[class].push(number);
            }
        }
        members.iter_mut().for_each(|class| class.shuffle(&mut rng));
        let mut free = vec![true; images];
        let queries = draw_balanced(&mut members, &mut free, queries);
        let training = draw_balanced(&mut members, &mut free, training);
        Ok(Split {
            queries,
            training,
            database: (0..images).filter(|&number| free[number]).collect(),
        })
    }

    /// Draws NUS-WIDE's protocol: 100 queries per concept and 10,000 training images.
    ///
    /// # Errors
    /// As [`Split::draw`].
    pub fn nus_wide(collection: &Collection, seed: u64) -> Result<Split, TrainError> {
        Split::draw(collection, 100 * collection.classes.len(), 10_000, seed)
    }
}

/// Draws `wanted` free images from the ends of the classes, class by class, or all images if there
/// are fewer.
fn draw_balanced(members: &mut [Vec<usize>], free: &mut [bool], wanted: usize) -> Vec<usize> {
    let mut taken = Vec::new();
    while taken.len() < wanted && members.iter().any(|class| !class.is_empty()) {
        for class in members.iter_mut() {
            while let Some(number) = class.pop_if(|_| taken.len() < wanted) {
                if std::mem::take(&mut free[number]) {
                    taken.push(number);
                    break;
                }
            }
        }
    }
    taken.sort_unstable();
    taken
}

impl Pictures {
    /// Splits picture numbers into training and validation. The share `fraction` of each class
    /// (seeded) is for validation, but never the whole class. A picture of several classes counts
    /// in its first class.
    pub fn split(&self, fraction: f64, seed: u64) -> (Vec<usize>, Vec<usize>) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut members = vec![Vec::new(); self.classes.len()];
        for (number, &set) in self.labels.iter().enumerate() {
            members[self.sets[set][0]].push(number);
        }
        let (mut train, mut validation) = (Vec::new(), Vec::new());
        for mut class in members {
            class.shuffle(&mut rng);
            let kept = (class.len() as f64 * fraction).round() as usize;
            validation.extend(class.drain(..kept.min(class.len().saturating_sub(1))));
            train.extend(class);
        }
        (train, validation)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use proptest::prelude::*;

    use super::*;
    use crate::train::data::{open::open, samples};

    /// Item k has class k mod 3, and also class 0 if `several` is set.
    fn collection(images: usize, several: bool) -> Collection {
        let folder = tempfile::tempdir().unwrap();
        let mut rows = "path,labels\n".to_owned();
        samples::write(folder.path(), "a.png", "");
        for i in 0..images {
            let more = if several { ";0" } else { "" };
            writeln!(rows, "a.png,{}{more}", i % 3).unwrap();
        }
        samples::write(folder.path(), "m.csv", rows);
        open(&folder.path().join("m.csv")).unwrap()
    }

    #[test]
    fn draws_are_balanced_and_seeded() {
        let collection = collection(60, false);
        let split = Split::draw(&collection, 9, 30, 1).unwrap();
        for (drawn, each) in [
            (&split.queries, 3),
            (&split.training, 10),
            (&split.database, 7),
        ] {
            for class in 0..3 {
                let is_of_class = |&&number: &&usize| collection.items[number].set == class;
                assert_eq!(drawn.iter().filter(is_of_class).count(), each);
            }
        }
        assert_eq!(split, Split::draw(&collection, 9, 30, 1).unwrap());
        assert_ne!(split, Split::draw(&collection, 9, 30, 2).unwrap());
        assert!(Split::draw(&collection, 60, 0, 1).is_err());
        let none = Split::draw(&collection, 0, 5, 1).unwrap_err().to_string();
        assert!(
            none.contains("the number of queries is 0 of 60 images; it must be at least 1"),
            "{none}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn every_item_is_in_exactly_one_part(
            images in 3usize..40,
            queries in 1usize..40,
            training in 0usize..50,
            several: bool,
            seed: u64,
        ) {
            prop_assume!(queries < images);
            let collection = collection(images, several);
            let Split { queries: drawn, training: trained, database } = Split::draw(&collection, queries, training, seed).unwrap();
            prop_assert_eq!(drawn.len(), queries);
            prop_assert_eq!(trained.len(), training.min(images - queries));
            let mut all = [drawn, trained, database].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..images).collect::<Vec<_>>());
        }
    }
}
