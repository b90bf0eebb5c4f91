//! What readers see of one moment: the generation that is searched and the one beside it, each with its directory, which change together.
//! Immutable, and knows no disk; a commit makes another one.

use std::sync::Arc;

use crate::{
    disk::page::CodeWords,
    memory::{
        directory::Directory,
        segment::Segment,
        sketches::{Sketches, array::SketchChange},
    },
    types::generation::Generation,
};

/// See the module.
#[derive(Clone)]
pub struct View {
    /// What is searched.
    pub active: GenerationView,
    /// What is being made, or was active before.
    pub standby: Option<GenerationView>,
    /// How many images there are, with codes or without.
    pub images: u64,
    /// The last commit that changed an image or a generation; where a log is followed, the position of the last write that did.
    pub commit: u64,
    /// How many messages of the log were broken and passed over.
    pub broken: u64,
}

/// A generation with its directory.
#[derive(Clone)]
pub struct GenerationView {
    /// What made the codes.
    pub generation: Arc<Generation>,
    /// Where they are found.
    pub directory: Arc<Directory>,
    /// The sketches beside them.
    pub sketches: Sketches,
    /// How many images are marked as without codes.
    pub uncoded: u64,
}

impl View {
    /// Both sides, the active one first.
    pub fn sides(&self) -> impl Iterator<Item = &GenerationView> {
        [&self.active].into_iter().chain(&self.standby)
    }

    /// The side of a generation's number; the active one where none is asked for.
    pub fn side(&self, number: Option<u32>) -> Option<&GenerationView> {
        let is =
            |side: &&GenerationView| number.is_none_or(|number| side.generation.number == number);
        self.sides().find(is)
    }

    /// How many images the generation beside has neither codes nor a mark for.
    pub fn missing(&self) -> u64 {
        let known = |side: &GenerationView| side.directory.images() + side.uncoded;
        self.standby
            .as_ref()
            .map_or(0, |side| self.images.saturating_sub(known(side)))
    }

    /// With one more segment on each side, after which there are so many images.
    pub fn after(&self, segments: Vec<Added>, images: u64) -> Self {
        let mut view = self.clone();
        let sides = [&mut view.active].into_iter().chain(&mut view.standby);
        for (side, added) in sides.zip(segments) {
            let Added {
                segment,
                distinct,
                sketches,
                counts,
            } = added;
            side.directory = Arc::new(side.directory.with(segment, distinct, counts.coded));
            side.sketches.change(&sketches);
            side.uncoded = counts.uncoded;
        }
        view.images = images;
        view
    }

    /// With the directory of a generation changed; the same where there is no such generation any more.
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
    /// A generation of which no image has codes yet, beside this one.
    pub fn without_codes(&self, generation: Generation) -> Self {
        GenerationView {
            directory: Arc::new(self.directory.without_codes(&generation.lengths)),
            sketches: self.sketches.none_of(&generation),
            generation: Arc::new(generation),
            uncoded: 0,
        }
    }

    /// How many images are in which state.
    pub fn counts(&self) -> Counts {
        Counts {
            coded: self.directory.images(),
            uncoded: self.uncoded,
        }
    }
}

/// What a commit adds to a side.
pub struct Added {
    /// The changes.
    pub segment: Arc<Segment>,
    /// How many distinct words each column has then.
    pub distinct: Vec<u64>,
    /// The sketches that are others then.
    pub sketches: Vec<SketchChange>,
    /// How many images are in which state then.
    pub counts: Counts,
}

/// How many images of a generation are in which state; the others have no codes yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// They have codes.
    pub coded: u64,
    /// They are marked as without.
    pub uncoded: u64,
}

impl Counts {
    /// One image more or less, with these words if any.
    pub fn take(&mut self, words: Option<&CodeWords>, sign: i64) {
        match words.map(|words| words.is_empty()) {
            Some(true) => self.uncoded = self.uncoded.saturating_add_signed(sign),
            Some(false) => self.coded = self.coded.saturating_add_signed(sign),
            None => {}
        }
    }
}
