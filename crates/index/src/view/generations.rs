//! What readers see at one moment: the active and the standby generation, each with its directory.
//! Immutable: each commit makes a new view.

use std::sync::Arc;

use crate::{
    disk::page::CodeWords,
    memory::{
        directory::Directory,
        filter::Changed,
        segment::Segment,
        sketches::{Sketches, array::SketchChange},
    },
    types::{field::Field, generation::Generation},
};

/// What readers see at one moment. A side of it is one of its generations: the active one, or the
/// standby one if there is one.
#[derive(Clone)]
pub struct View {
    /// The active generation.
    pub active: GenerationView,
    /// The standby generation, if there is one.
    pub standby: Option<GenerationView>,
    /// The number of images, with or without codes.
    pub images: u64,
    /// The last commit that changed an image or a generation; if a log is followed, the position of
    /// the last write that did.
    pub commit: u64,
    /// The number of unreadable log messages that were skipped.
    pub broken: u64,
}

/// A generation with its directory.
#[derive(Clone)]
pub struct GenerationView {
    /// The generation.
    pub generation: Arc<Generation>,
    /// The directory of its codes.
    pub directory: Arc<Directory>,
    /// Its sketches.
    pub sketches: Sketches,
    /// The number of images that are marked as uncoded.
    pub uncoded: u64,
}

impl View {
    /// The sides, the active one first.
    pub fn sides(&self) -> impl Iterator<Item = &GenerationView> {
        [&self.active].into_iter().chain(&self.standby)
    }

    /// The side with this generation number; `None` means the active one.
    pub fn side(&self, number: Option<u32>) -> Option<&GenerationView> {
        let has_number =
            |side: &&GenerationView| number.is_none_or(|number| side.generation.number == number);
        self.sides().find(has_number)
    }

    /// The number of images without codes or mark in the standby generation.
    pub fn missing(&self) -> u64 {
        let known = |side: &GenerationView| side.directory.images() + side.uncoded;
        self.standby
            .as_ref()
            .map_or(0, |side| self.images.saturating_sub(known(side)))
    }

    /// Returns the view with one more segment on each side, and this number of images.
    pub fn after(&self, segments: Vec<Added>, images: u64) -> Self {
        let mut view = self.clone();
        let sides = [&mut view.active].into_iter().chain(&mut view.standby);
        for (side, added) in sides.zip(segments) {
            let Added {
                segment,
                distinct,
                changed,
                sketches,
                counts,
            } = added;
            let mut directory = side.directory.with(segment, distinct, counts.coded);
            if let Some(changed) = changed {
                directory.keep_cache(&side.directory, changed);
            }
            side.directory = Arc::new(directory);
            side.sketches.change(&sketches);
            side.uncoded = counts.uncoded;
        }
        view.images = images;
        view
    }

    /// Returns the view with other fields; see [`Directory::with_fields`].
    pub fn with_fields(&self, fields: &Arc<[Field]>) -> Self {
        let mut view = self.clone();
        for side in [&mut view.active].into_iter().chain(&mut view.standby) {
            side.directory = Arc::new(side.directory.with_fields(fields.clone()));
        }
        view
    }

    /// Returns the view with the directory of one generation changed; unchanged if the generation
    /// no longer exists.
    pub fn changed(&self, number: u32, change: impl FnOnce(&Directory) -> Directory) -> Self {
        let mut view = self.clone();
        let sides = [&mut view.active].into_iter().chain(&mut view.standby);
        if let Some(side) = sides
            .into_iter()
            .find(|side| side.generation.number == number)
        {
            side.directory = Arc::new(change(&side.directory));
        }
        view
    }
}

impl GenerationView {
    /// A new generation with the same images, none of which has codes yet.
    pub fn without_codes(&self, generation: Generation) -> Self {
        GenerationView {
            directory: Arc::new(self.directory.without_codes(&generation.lengths)),
            sketches: self.sketches.none_of(&generation),
            generation: Arc::new(generation),
            uncoded: 0,
        }
    }

    /// The number of images by state.
    pub fn counts(&self) -> Counts {
        Counts {
            coded: self.directory.images(),
            uncoded: self.uncoded,
        }
    }
}

/// The changes of a commit to one side.
pub struct Added {
    /// The segment with its postings.
    pub segment: Arc<Segment>,
    /// The number of distinct words of each column after the commit.
    pub distinct: Vec<u64>,
    /// The changed images; `None` if they are not all known.
    pub changed: Option<Changed>,
    /// The changed sketches.
    pub sketches: Vec<SketchChange>,
    /// The number of images by state after the commit.
    pub counts: Counts,
}

/// The number of images of a generation by state. All other images have no codes yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Images with codes.
    pub coded: u64,
    /// Images that are marked as uncoded.
    pub uncoded: u64,
}

impl Counts {
    /// Adds `sign` to the count of images in this state: with codes, marked as uncoded (empty
    /// words), or neither.
    pub fn count(&mut self, words: Option<&CodeWords>, sign: i64) {
        match words.map(std::vec::Vec::is_empty) {
            Some(true) => self.uncoded = self.uncoded.saturating_add_signed(sign),
            Some(false) => self.coded = self.coded.saturating_add_signed(sign),
            None => {}
        }
    }
}
