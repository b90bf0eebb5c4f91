//! Finds groups of copies, images with very similar sketches, and returns them with their records.
//! The caller stores the found groups and chooses the threshold.

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
        copies::{CopySearch, FoundCopies, Groups},
        set::SketchSet,
    },
    read::reading::{Lookup, Reading},
    types::{
        error::{Damage, IndexError},
        filter::Filter,
        id::ImageId,
        record::{Record, Times},
    },
    view::generations::GenerationView,
};

/// The groups of copies in one generation at one commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Copies {
    /// The number of the generation.
    pub generation: u32,
    /// The model of the generation.
    pub model: String,
    /// The minimum similarity of a copy, −1 to 1.
    pub min_similarity: f32,
    /// The [commit](Index::commit) at which the search started. Later writes may or may not be
    /// included.
    pub commit: u64,
    /// The time of the search, in milliseconds since 1970.
    pub found_at_ms: u64,
    /// The number of images compared.
    pub images: u64,
    /// The largest group first, then by age.
    groups: Groups,
    /// The other images that have a copy; see [`FoundCopies::others`].
    others: Vec<u32>,
}

/// A group of copies.
#[derive(Clone, Debug)]
pub struct CopyGroup {
    /// The oldest image.
    pub oldest: Record,
    /// The number of images in the group when it was found, including the oldest.
    pub images: usize,
    /// Some of the other images, by age, each with its similarity to the oldest image.
    pub copies: Vec<(Record, f32)>,
}

impl Copies {
    /// The number of groups.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Returns true if there are no groups.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The number of images that are a copy of an older one.
    pub fn copies(&self) -> usize {
        self.groups.iter().map(|group| group.len() - 1).sum()
    }

    /// Encodes the groups as a file of about four bytes for each image in a group.
    ///
    /// # Errors
    /// [`IndexError::Encode`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, IndexError> {
        Ok(page::seal(postcard::to_stdvec(self)?))
    }

    /// Decodes such a file.
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
        if copies.groups.iter().all(|group| group.len() > 1) {
            Ok(copies)
        } else {
            Err(damaged("it has a group of fewer than two images").into())
        }
    }
}

impl Index {
    /// Returns the number of the last commit that changed an image or a generation; right after
    /// opening, of the last commit. If the index follows a log, returns the position of that write
    /// instead, which is the same on all replicas.
    pub fn commit(&self) -> u64 {
        self.0.store.view().commit
    }

    /// Finds the groups of copies in a generation; see [`SketchSet::copies`]. Needs memory for a
    /// second copy of all sketches, and about a hundred bytes per image if there are more than
    /// [`CopySearch::MAX_EXACT`]. `keep_going` receives the number of images done and the total. If
    /// it returns false, the search stops and returns `None`.
    ///
    /// # Errors
    /// [`IndexError::Generation`] if the generation does not exist, [`IndexError::Store`].
    pub fn find_copies(
        &self,
        generation: u32,
        min_similarity: f32,
        keep_going: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<Option<Copies>, IndexError> {
        let view = self.0.store.view();
        let side = view.side(Some(generation));
        let side = side.ok_or_else(|| IndexError::Generation {
            given: generation,
            active: view.active.generation.number,
        })?;
        let set = self.sketch_set(side)?;
        let all = set.len();
        let mut keep_going = |done: usize| keep_going(done as u64, all as u64);
        let found = set.copies(min_similarity, CopySearch::for_count(all), &mut keep_going);
        Ok(found.map(|FoundCopies { groups, others }| Copies {
            generation,
            model: side.generation.model.clone(),
            min_similarity,
            commit: view.commit,
            found_at_ms: Times::now().updated_at_ms,
            images: all as u64,
            groups,
            others,
        }))
    }

    /// Returns the groups of copies among the images that pass a filter now. The number of images
    /// is that of the passing ones.
    ///
    /// # Errors
    /// As [`find_copies`](Self::find_copies) and [`list`](Self::list).
    pub fn copies_among(&self, copies: &Copies, filter: &Filter) -> Result<Copies, IndexError> {
        let store = &self.0.store;
        store.read_consistent(Some(copies.generation), |directory, reading| {
            let filtered = reading.filtered(directory, Some(filter))?;
            let Some(passing) = filtered.and_then(|filtered| filtered.passing) else {
                return Ok(None);
            };
            let grouped = copies.groups.iter().flatten();
            let mut linked: Vec<u32> = grouped.chain(&copies.others).copied().collect();
            linked.sort_unstable();
            let mut set = SketchSet::new(reading.side.generation.sketch.unwrap_or_default());
            for sequence in linked.into_iter().filter(|&sequence| passing.has(sequence)) {
                // A deleted image has no sketch.
                if let Some(sketch) = reading.sketch(sequence)? {
                    set.push(sequence, sketch.values().iter().copied());
                }
            }
            let search = CopySearch::for_count(set.len());
            let found = set.copies(copies.min_similarity, search, &mut |_| true);
            let FoundCopies { groups, others } = found.unwrap_or_default();
            Ok(Some(Copies {
                groups,
                others,
                images: passing.len() as u64,
                model: copies.model.clone(),
                ..*copies
            }))
        })
    }

    /// Collects all sketches of a generation.
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
                    // Damage of this page was reported when the store was opened.
                    let Ok(slots) = sketch_page::slots(&value, width) else {
                        continue;
                    };
                    for (slot, bytes) in slots {
                        let sequence = page * sketch_page::SLOTS + u32::from(slot);
                        set.push(sequence, bytes.iter().map(|byte| byte.cast_signed()));
                    }
                }
            }
        }
        Ok(set)
    }

    /// Returns at most `limit` groups from index `from`, each with at most `max_copies` copies.
    /// Leaves out images that were deleted or are no longer copies, and groups without their oldest
    /// image or without any copy to show.
    ///
    /// # Errors
    /// As [`find_copies`](Self::find_copies), and [`IndexError::Corrupt`].
    pub fn groups(
        &self,
        copies: &Copies,
        from: usize,
        limit: usize,
        max_copies: usize,
    ) -> Result<Vec<CopyGroup>, IndexError> {
        let from = from.min(copies.len());
        let wanted = &copies.groups[from..copies.len().min(from.saturating_add(limit))];
        self.0
            .store
            .read_consistent(Some(copies.generation), |_, reading| {
                let mut groups = Vec::new();
                for sequences in wanted {
                    let group = reading.group(sequences, 0..max_copies, copies.min_similarity)?;
                    groups.extend(group.filter(|group| !group.copies.is_empty()));
                }
                Ok(Some(groups))
            })
    }

    /// Returns the group that an image is in, with at most `limit` of its copies from index `from`.
    /// Returns `None` if the image is in no group or the oldest image of its group is gone.
    ///
    /// # Errors
    /// As [`groups`](Self::groups).
    pub fn group_of(
        &self,
        copies: &Copies,
        id: &ImageId,
        from: usize,
        limit: usize,
    ) -> Result<Option<CopyGroup>, IndexError> {
        self.0
            .store
            .read_consistent(Some(copies.generation), |directory, reading| {
                let sequence = match reading.sequence_of(directory, id)? {
                    Lookup::Found(sequence) => sequence,
                    Lookup::Absent => return Ok(Some(None)),
                    Lookup::Inconsistent => return Ok(None),
                };
                let has = |group: &&Vec<u32>| group.contains(&sequence);
                let Some(sequences) = copies.groups.iter().find(has) else {
                    return Ok(Some(None));
                };
                let range = from..from.saturating_add(limit);
                reading
                    .group(sequences, range, copies.min_similarity)
                    .map(Some)
            })
    }
}

impl Reading<'_> {
    /// Reads a group with a range of its copies; `None` if its oldest image is gone.
    fn group(
        &mut self,
        sequences: &[u32],
        range: Range<usize>,
        min_similarity: f32,
    ) -> Result<Option<CopyGroup>, IndexError> {
        let Some((&oldest, rest)) = sequences.split_first() else {
            return Ok(None);
        };
        let Some(oldest) = self.listed(oldest)?.image() else {
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
            if let Some(similarity) = similarity.filter(|similarity| *similarity >= min_similarity)
                && let Some(record) = self.listed(sequence)?.image()
            {
                copies.push((record, similarity));
            }
        }
        Ok(Some(CopyGroup {
            images: sequences.len(),
            oldest,
            copies,
        }))
    }
}
