//! Groups of copies: images whose sketches are so alike that they are taken for the same picture. Found for a whole generation at once, kept as
//! one file, and told with the records that the images have when it is asked.
//! Knows generations and moments; neither what likeness makes a copy nor where the file lies.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::{
    api::Index,
    disk::{
        key::{self, Key},
        page, sketch_page,
    },
    memory::sketches::{
        Sketches,
        copies::{Groups, Search},
        set::SketchSet,
    },
    read::reading::Reading,
    types::{
        error::{Damage, IndexError},
        id::ImageId,
        record::{Record, Times},
    },
    view::generations::GenerationView,
};

/// The groups of copies of one generation, as they were at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Copies {
    /// The number of the generation.
    pub generation: u32,
    /// The model that made its sketches.
    pub model: String,
    /// From which similarity on, −1 to 1, an image is a copy.
    pub least: f32,
    /// The [commit](Index::commit) that they are of. What was written while they were found may be in them or not.
    pub commit: u64,
    /// When they were found, in milliseconds since 1970.
    pub found_at_ms: u64,
    /// How many images were compared.
    pub images: u64,
    /// The largest first, then by age.
    groups: Groups,
}

/// A group of copies.
#[derive(Clone, Debug)]
pub struct Group {
    /// The oldest image.
    pub oldest: Record,
    /// How many images were in the group when it was found, the oldest included.
    pub images: usize,
    /// Some of the others by age, each with its similarity to the oldest.
    pub copies: Vec<(Record, f32)>,
}

impl Copies {
    /// How many groups there are.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// How many images are a copy of an older one.
    pub fn copies(&self) -> usize {
        self.groups.iter().map(|group| group.len() - 1).sum()
    }

    /// As a file: about four bytes an image that is in a group.
    ///
    /// # Errors
    /// [`IndexError::Encode`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, IndexError> {
        Ok(page::seal(postcard::to_stdvec(self)?))
    }

    /// Reads a file back.
    ///
    /// # Errors
    /// [`IndexError::Corrupt`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, IndexError> {
        let damaged = |why: &str| Damage {
            what: "the file of groups of copies".to_owned(),
            why: why.to_owned(),
        };
        let body = page::open(bytes).map_err(damaged)?;
        let copies: Copies = postcard::from_bytes(body).map_err(|_| damaged("it is malformed"))?;
        match copies.groups.iter().all(|group| group.len() > 1) {
            true => Ok(copies),
            false => Err(damaged("it has a group of fewer than two images").into()),
        }
    }
}

impl Index {
    /// The number of the last commit that changed an image or a generation; right after opening, of the last commit of all. Where the index
    /// follows a log it is the position of that write instead, which all replicas have alike.
    pub fn commit(&self) -> u64 {
        self.0.store.view().commit
    }

    /// The groups of copies in a generation: see [`SketchSet::groups`]. Takes the memory of all sketches once more, and some hundred bytes an image
    /// if there are more than [`Search::EXACT`]. `go_on` receives how many images are done, and of how many. If it returns false, the search
    /// stops and returns `None`.
    ///
    /// # Errors
    /// [`IndexError::Generation`] where there is no such generation, [`IndexError::Store`].
    pub fn find_copies(
        &self,
        generation: u32,
        least: f32,
        go_on: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<Option<Copies>, IndexError> {
        let view = self.0.store.view();
        let side = view.side(Some(generation));
        let side = side.ok_or_else(|| IndexError::Generation {
            given: generation,
            active: view.active.generation.number,
        })?;
        let set = self.sketch_set(side)?;
        let all = set.len();
        let mut go_on = |done: usize| go_on(done as u64, all as u64);
        let groups = set.groups(least, Search::suiting(all), &mut go_on);
        Ok(groups.map(|groups| Copies {
            generation,
            model: side.generation.model.clone(),
            least,
            commit: view.commit,
            found_at_ms: Times::now().updated_at_ms,
            images: all as u64,
            groups,
        }))
    }

    /// All sketches of a generation.
    fn sketch_set(&self, side: &GenerationView) -> Result<SketchSet, IndexError> {
        let number = side.generation.number;
        let width = side.generation.sketch.unwrap_or_default();
        let mut set = SketchSet::new(width);
        match &side.sketches {
            Sketches::None => {}
            Sketches::Memory(array) => {
                for (sequence, values) in array.iter() {
                    set.push(sequence, values.iter().copied());
                }
            }
            Sketches::Disk => {
                for entry in self.0.store.db()?.range(key::sketches(number, 0..u32::MAX)) {
                    let (key, value) = entry?;
                    let Some(Key::Sketches { page, .. }) = Key::from_bytes(&key) else {
                        continue;
                    };
                    // What is wrong with a page was said when it was opened.
                    let Ok(slots) = sketch_page::slots(&value, width) else {
                        continue;
                    };
                    for (slot, bytes) in slots {
                        let sequence = page * sketch_page::SLOTS + u32::from(slot);
                        set.push(sequence, bytes.iter().map(|&byte| byte as i8));
                    }
                }
            }
        }
        Ok(set)
    }

    /// At most `limit` groups from a place on, each with at most `most` copies. An image that was deleted or is no copy any more is left out, and
    /// so is a group without its oldest image or without any copy to tell.
    ///
    /// # Errors
    /// As [`find_copies`](Self::find_copies), and [`IndexError::Corrupt`].
    pub fn groups(
        &self,
        copies: &Copies,
        from: usize,
        limit: usize,
        most: usize,
    ) -> Result<Vec<Group>, IndexError> {
        let from = from.min(copies.len());
        let wanted = &copies.groups[from..copies.len().min(from.saturating_add(limit))];
        self.0
            .store
            .read_consistent(Some(copies.generation), |_, reading| {
                let mut groups = Vec::new();
                for sequences in wanted {
                    let group = reading.group(sequences, 0..most, copies.least)?;
                    groups.extend(group.filter(|group| !group.copies.is_empty()));
                }
                Ok(Some(groups))
            })
    }

    /// The group that an image is in, with at most `limit` of its copies from a place on; none where the image is in no group, or the group's
    /// oldest is gone.
    ///
    /// # Errors
    /// As [`groups`](Self::groups).
    pub fn group_of(
        &self,
        copies: &Copies,
        id: &ImageId,
        from: usize,
        limit: usize,
    ) -> Result<Option<Group>, IndexError> {
        self.0
            .store
            .read_consistent(Some(copies.generation), |directory, reading| {
                let Some(place) = reading.place(directory, id)? else {
                    return Ok(None);
                };
                let has = |group: &&Vec<u32>| place.is_some_and(|place| group.contains(&place));
                let Some(sequences) = copies.groups.iter().find(has) else {
                    return Ok(Some(None));
                };
                let range = from..from.saturating_add(limit);
                reading.group(sequences, range, copies.least).map(Some)
            })
    }
}

impl Reading<'_> {
    /// A group with the copies at some places, as far as they still are; none where its oldest image is gone.
    fn group(
        &mut self,
        sequences: &[u32],
        range: Range<usize>,
        least: f32,
    ) -> Result<Option<Group>, IndexError> {
        let Some((&oldest, rest)) = sequences.split_first() else {
            return Ok(None);
        };
        let Some(oldest) = self.listed(oldest)?.flatten() else {
            return Ok(None);
        };
        let Some(sketch) = &oldest.sketch else {
            return Ok(None);
        };
        let mut copies = Vec::new();
        let range = range.start.min(rest.len())..range.end.min(rest.len());
        let rest = &rest[range];
        let similarities = self.similarities(sketch, rest.iter().copied())?;
        for (&sequence, similarity) in rest.iter().zip(similarities) {
            if let Some(similarity) = similarity.filter(|similarity| *similarity >= least)
                && let Some(record) = self.listed(sequence)?.flatten()
            {
                copies.push((record, similarity));
            }
        }
        Ok(Some(Group {
            images: sequences.len(),
            oldest,
            copies,
        }))
    }
}
