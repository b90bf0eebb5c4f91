//! The decoded pictures for training, and batches drawn from them. The pictures are small, square,
//! of one size, and all in memory.

use std::{
    collections::BTreeSet,
    ops::Range,
    sync::atomic::{AtomicU32, Ordering},
};

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use scihcgrl_image::Input;

use crate::train::{
    data::{
        augment::{Augment, Transform},
        collection::{Collection, Item, invalid},
        parallel::on_all_cores,
    },
    error::TrainError,
};

/// The number of pictures that are decoded before they are added to the others.
const DECODE_BLOCK: usize = 1024;

/// Labelled pictures, square and all of one size, which is at most the side of a model's input.
#[derive(Debug)]
pub struct Pictures {
    /// Class names, sorted: a class is its index.
    pub classes: Vec<String>,
    /// The sets of classes that occur, as in the collection.
    pub sets: Vec<Vec<usize>>,
    /// `[pictures, side, side, 3]` in 0…255, in plain memory, so that any thread can draw from it.
    pub images: Vec<u8>,
    /// Side of a picture, in pixels.
    pub side: u32,
    /// The set of each picture; if every image has one class, its class.
    pub labels: Vec<usize>,
    /// Items that could not be read as pictures, with reasons; they are left out.
    pub skipped: Vec<(String, String)>,
}

impl Pictures {
    /// Reads a collection's items, or those with these numbers, on all cores, in the form of a
    /// network's input. If all items are smaller than the input, the side is the longest one among
    /// them.
    ///
    /// With `per_class`, takes items in a random order (seeded). Takes an item only if one of its
    /// classes has fewer than `per_class` images so far.
    ///
    /// # Errors
    /// [`TrainError::Data`] if no item of a class can be read.
    pub fn read(
        collection: &Collection,
        numbers: Option<&[usize]>,
        input: Input,
        per_class: Option<usize>,
        seed: u64,
    ) -> Result<Pictures, TrainError> {
        let mut numbers = match numbers {
            Some(numbers) => numbers.to_vec(),
            None => (0..collection.items.len()).collect(),
        };
        let classes_of = |number: usize| &collection.sets[collection.items[number].set];
        if let Some(most) = per_class {
            numbers.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
            let mut taken = vec![0; collection.classes.len()];
            numbers.retain(|&number| {
                let classes = classes_of(number);
                let fewer = classes.iter().any(|&class| taken[class] < most);
                let more = usize::from(fewer);
                classes.iter().for_each(|&class| taken[class] += more);
                fewer
            });
            numbers.sort_unstable();
        }
        let items: Vec<&Item> = numbers
            .iter()
            .map(|&number| &collection.items[number])
            .collect();
        let side = input.side;
        let side = side.min(longest_side(&items, side).unwrap_or(side));
        let input = Input { side, ..input };
        let mut images = Vec::with_capacity(items.len() * bytes(side));
        let (mut labels, mut skipped) = (Vec::new(), Vec::new());
        for block in items.chunks(DECODE_BLOCK) {
            let read = on_all_cores(block, |item| {
                let picture = item.decode().map_err(|error| error.to_string())?;
                scihcgrl_image::resize(&picture, input).map_err(|error| error.to_string())
            });
            for (item, pixels) in block.iter().zip(read) {
                match pixels {
                    Ok(pixels) => {
                        images.extend_from_slice(&pixels.rgb);
                        labels.push(item.set);
                    }
                    Err(reason) => skipped.push((item.name.clone(), reason)),
                }
            }
        }
        let classes = |set: usize| collection.sets[set].iter();
        let mut missing: BTreeSet<_> = items.iter().flat_map(|item| classes(item.set)).collect();
        for class in labels.iter().flat_map(|&set| classes(set)) {
            missing.remove(class);
        }
        if let Some(&&class) = missing.first() {
            let class = &collection.classes[class];
            return Err(invalid(
                &collection.path,
                format!("class '{class}' has no readable image; each needs at least one"),
            ));
        }
        Ok(Pictures {
            classes: collection.classes.clone(),
            sets: collection.sets.clone(),
            images,
            side,
            labels,
            skipped,
        })
    }

    /// Draws `part` of a batch of pictures, by their numbers, at a model's input size: `[part, 3,
    /// side, side]`. With `augment`, changes each picture at random, depending only on the seed and
    /// its place in the batch.
    pub fn batch_bytes(
        &self,
        numbers: &[usize],
        part: Range<usize>,
        side: u32,
        augment: Option<Augment>,
        seed: u64,
    ) -> Vec<u8> {
        let (from, to) = (bytes(self.side), bytes(side));
        let mut made = vec![0; part.len() * to];
        for (place, target) in part.zip(made.chunks_exact_mut(to)) {
            let number = numbers[place];
            let picture = &self.images[number * from..][..from];
            let transform = match augment {
                Some(augment) => {
                    let mut rng = ChaCha8Rng::seed_from_u64(seed);
                    rng.set_stream(place as u64);
                    augment.draw(&mut rng)
                }
                None => Transform::default(),
            };
            transform.sample(picture, self.side as usize, target, side as usize);
        }
        made
    }
}

/// Returns the number of bytes of a picture.
fn bytes(side: u32) -> usize {
    3 * (side as usize).pow(2)
}

/// Returns the longest side among items, by their headers. Stops at the first side of at least
/// `enough`.
fn longest_side(items: &[&Item], enough: u32) -> Option<u32> {
    let longest_side = AtomicU32::new(0);
    on_all_cores(items, |item| {
        if longest_side.load(Ordering::Relaxed) < enough {
            longest_side.fetch_max(item.longer_side().unwrap_or(0), Ordering::Relaxed);
        }
    });
    Some(longest_side.into_inner()).filter(|&longest_side| longest_side > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::data::{open::open, samples};

    fn read(folder: &std::path::Path, side: u32) -> Result<Pictures, TrainError> {
        Pictures::read(
            &open(folder).unwrap(),
            None,
            Input::stretched(side),
            None,
            0,
        )
    }

    #[test]
    fn pictures_stay_small_and_unreadable_ones_are_listed() {
        let folder = tempfile::tempdir().unwrap();
        samples::tree(folder.path());
        let pictures = read(folder.path(), 96).unwrap();
        assert_eq!((pictures.side, pictures.images.len()), (8, 8 * 8 * 8 * 3));
        assert_eq!(pictures.labels, [0, 0, 0, 0, 1, 1, 1, 1]);
        assert_eq!(pictures.images[5 * 192..][..3], [200, 10, 0]);
        let [(name, reason)] = &pictures.skipped[..] else {
            panic!()
        };
        assert_eq!(name, "cat/broken.jpg");
        assert!(reason.contains("not a supported image format"), "{reason}");
        assert_eq!(read(folder.path(), 6).unwrap().side, 6);
    }

    #[test]
    fn items_can_be_chosen_by_number_or_per_class() {
        let folder = tempfile::tempdir().unwrap();
        samples::tree(folder.path());
        let collection = open(folder.path()).unwrap();
        let some =
            Pictures::read(&collection, Some(&[7, 0]), Input::stretched(8), None, 0).unwrap();
        assert_eq!(some.labels, [1, 0]);
        assert_eq!(some.images[..3], [200, 20, 0]);
        let few =
            |seed| Pictures::read(&collection, None, Input::stretched(8), Some(2), seed).unwrap();
        // The corrupt file can be one of the two.
        assert!((3..=4).contains(&few(0).labels.len()));
        assert_eq!(few(1).images, few(1).images);
        assert!((2..9).any(|seed| few(1).images != few(seed).images));
    }

    #[test]
    fn a_class_without_readable_images_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        samples::tree(folder.path());
        samples::write(folder.path(), "bird/0.png", "");
        let words = read(folder.path(), 8).unwrap_err().to_string();
        assert!(
            words.contains("class 'bird' has no readable image"),
            "{words}"
        );
    }

    #[test]
    fn validation_takes_a_share_of_each_class_but_never_all() {
        let folder = tempfile::tempdir().unwrap();
        samples::tree(folder.path());
        let pictures = read(folder.path(), 8).unwrap();
        let (train, validation) = pictures.split(0.25, 3);
        assert_eq!((train.len(), validation.len()), (6, 2));
        assert_eq!(pictures.split(0.25, 3), (train, validation));
        assert_eq!(pictures.split(1.0, 3).0.len(), 2);
    }

    #[test]
    fn a_batch_depends_only_on_its_numbers_and_seed() {
        let folder = tempfile::tempdir().unwrap();
        samples::tree(folder.path());
        let pictures = read(folder.path(), 8).unwrap();
        let full = Some(Augment::new(1.0));
        let batch = |numbers: &[usize], seed| {
            pictures.batch_bytes(numbers, 0..numbers.len(), 12, full, seed)
        };
        assert_eq!(batch(&[1, 2, 1], 5), batch(&[1, 2, 1], 5));
        assert_ne!(batch(&[1, 2, 1], 5), batch(&[1, 2, 1], 6));
        let twice = batch(&[1, 1], 5);
        let (first, second) = twice.split_at(twice.len() / 2);
        assert_ne!(first, second);
        assert_eq!(pictures.batch_bytes(&[1, 1], 1..2, 12, full, 5), second);
        let plain = pictures.batch_bytes(&[3, 4], 0..2, 8, None, 0);
        assert_eq!((plain.len(), &plain[..64]), (2 * 3 * 64, &[30; 64][..]));
    }
}
