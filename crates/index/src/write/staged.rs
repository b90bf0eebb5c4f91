//! The staged changes of a group: pages, payloads, names, and the batch to apply. Reads unchanged
//! pages from the store.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use serde_json::Value;

use crate::{
    disk::{
        engine,
        generations::Generations,
        key::Key,
        names::Names,
        page::{self, CodeWords, Page},
        row::{PackedId, Row},
        sketch_page,
    },
    types::{error::IndexError, generation::Generation, id::ImageId, sketch::Sketch},
    view::{generations::View, store::Store},
};

/// The staged changes of a group.
pub struct Staged<'a> {
    store: &'a Store,
    db: Arc<engine::Db>,
    names: &'a mut Names,
    /// Everything but pages and the summary, which are added last.
    pub batch: engine::Batch,
    /// The sequence numbers of the images looked up so far, after the staged writes; `None` if
    /// deleted.
    pub sequences: HashMap<ImageId, Option<u32>>,
    /// The row pages to write.
    pub rows: HashMap<u32, Page<Row>>,
    /// The view on which the group is staged, except for merges.
    pub view: Arc<View>,
    /// The code pages of each generation to write.
    pub codes: Vec<HashMap<u32, Page<CodeWords>>>,
    /// The sketch pages of each generation to write.
    pub sketches: Vec<HashMap<u32, Page<Sketch>>>,
    payloads: HashMap<u32, Option<Value>>,
    /// The change of the number of images of each label.
    labels: HashMap<u32, i64>,
    /// The size of the staged payloads in bytes.
    pub bytes: usize,
}

/// An image before a write.
pub struct StoredImage {
    /// Its sequence number.
    pub sequence: u32,
    /// Its row.
    pub row: Row,
    /// Its codes in each generation, the active one first; `None` in a standby generation that has
    /// none for it yet.
    pub words: Vec<Option<CodeWords>>,
}

impl<'a> Staged<'a> {
    /// Starts with no changes.
    pub fn new(store: &'a Store, db: Arc<engine::Db>, names: &'a mut Names) -> Self {
        let view = store.view();
        let codes = view.sides().map(|_| HashMap::new()).collect();
        let sketches = view.sides().map(|_| HashMap::new()).collect();
        Staged {
            store,
            db,
            names,
            view,
            batch: engine::Batch::default(),
            sequences: HashMap::new(),
            rows: HashMap::new(),
            codes,
            sketches,
            payloads: HashMap::new(),
            labels: HashMap::new(),
            bytes: 0,
        }
    }

    /// The lowest number without a name.
    pub fn next_name(&self) -> u32 {
        self.names.next()
    }

    /// Looks up an image, after the staged writes.
    pub fn find(&mut self, id: &ImageId) -> Result<Option<StoredImage>, IndexError> {
        let packed = PackedId::from(id);
        let candidates: Vec<u32> = match self.sequences.get(id) {
            Some(staged) => staged.iter().copied().collect(),
            None => {
                let directory = &self.view.active.directory;
                directory.with_id(self.store.hash(id)).collect()
            }
        };
        for sequence in candidates {
            let (number, slot) = page::page_and_slot(sequence);
            let Some(row) = self.rows(number)?.get(&slot).filter(|row| row.id == packed) else {
                continue;
            };
            let row = row.clone();
            let sides = 0..self.codes.len();
            let words = sides.map(|side| Ok(self.codes(side, number)?.get(&slot).cloned()));
            let words: Vec<Option<CodeWords>> = words.collect::<Result<_, IndexError>>()?;
            if words.first().is_none_or(Option::is_none) {
                return Err(IndexError::Corrupt {
                    what: format!("the image {id}"),
                    why: "it has a row and no codes".to_owned(),
                });
            }
            return Ok(Some(StoredImage {
                sequence,
                row,
                words,
            }));
        }
        Ok(None)
    }

    /// Reads the payload of an image, after the staged writes.
    pub fn payload(&self, image: &StoredImage) -> Result<Option<Value>, IndexError> {
        match self.payloads.get(&image.sequence) {
            Some(staged) => Ok(staged.clone()),
            None if image.row.payload => Store::payload(&self.db, image.sequence).map(Some),
            None => Ok(None),
        }
    }

    /// Stages a payload, encoded and as a value; `None` removes it.
    pub fn save_payload(
        &mut self,
        sequence: u32,
        payload: Option<(Vec<u8>, Value)>,
        was_there: bool,
    ) {
        let key = Key::Payload(sequence).to_bytes();
        let (json, payload) = payload.unzip();
        match json {
            Some(json) => {
                self.bytes += json.len();
                self.batch.insert(key, page::seal(json));
            }
            None if was_there => self.batch.remove(key),
            None => {}
        }
        self.payloads.insert(sequence, payload);
    }

    /// Returns a row page for changing.
    pub fn rows(&mut self, number: u32) -> Result<&mut Page<Row>, IndexError> {
        if !self.rows.contains_key(&number) {
            self.rows.insert(number, Store::rows(&self.db, number)?);
        }
        Ok(self.rows.entry(number).or_default())
    }

    /// Returns a code page of a side for changing. A damaged page of the standby generation starts
    /// empty.
    pub fn codes(&mut self, side: usize, number: u32) -> Result<&mut Page<CodeWords>, IndexError> {
        let (view, db) = (&self.view, &self.db);
        let page = match self.codes[side].entry(number) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let generation = view.sides().nth(side).map(|side| &side.generation);
                let page = generation.map_or(Ok(Page::new()), |of| Store::codes(db, of, number));
                entry.insert(match page {
                    Err(IndexError::Corrupt { .. }) if side > 0 => Page::new(),
                    page => page?,
                })
            }
        };
        Ok(page)
    }

    /// Reads the sketch of an image on one side, after the staged writes.
    pub fn sketch(&self, side: usize, sequence: u32) -> Result<Option<Sketch>, IndexError> {
        let (number, slot) = sketch_page::page_and_slot(sequence);
        if let Some(page) = self.sketches.get(side).and_then(|pages| pages.get(&number)) {
            return Ok(page.get(&slot).cloned());
        }
        let generation = self.view.sides().nth(side).map(|side| &side.generation);
        match generation.filter(|generation| generation.sketch.is_some()) {
            Some(generation) => Ok(Store::sketches(&self.db, generation, number)?.remove(&slot)),
            None => Ok(None),
        }
    }

    /// Returns a sketch page of a side for changing; `None` if its generation has no sketches.
    pub fn sketches(
        &mut self,
        side: usize,
        number: u32,
    ) -> Result<Option<&mut Page<Sketch>>, IndexError> {
        let generation = self.view.sides().nth(side).map(|side| &side.generation);
        let Some(generation) = generation.filter(|generation| generation.sketch.is_some()) else {
            return Ok(None);
        };
        Ok(Some(match self.sketches[side].entry(number) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Store::sketches(&self.db, generation, number)?),
        }))
    }

    /// Returns the number of a name, and assigns one if it has none.
    pub fn number(&mut self, name: &str) -> Result<u32, IndexError> {
        self.names.number(&self.db, &mut self.batch, name)
    }

    /// Adds `change` to the number of images with a label. Removes the label's name if no image has
    /// it any more.
    pub fn count_label(&mut self, number: u32, change: i64) -> Result<(), IndexError> {
        let counted = self.labels.entry(number).or_default();
        *counted += change;
        let stored = self.view.active.directory.count_labelled(number);
        if i64::try_from(stored) == Ok(-*counted) {
            self.names.forget(&self.db, &mut self.batch, number)
        } else {
            Ok(())
        }
    }

    /// Returns the numbers of several names.
    pub fn numbers(&mut self, names: &[String]) -> Result<Vec<u32>, IndexError> {
        names.iter().map(|name| self.number(name)).collect()
    }

    /// Returns the names of several numbers.
    pub fn named(&self, numbers: &[u32]) -> Result<Vec<String>, IndexError> {
        let name = |&number| self.names.name(&self.db, number);
        numbers.iter().map(name).collect()
    }
}

/// The generations after a commit that changes them.
pub struct GenerationChange {
    /// The generations after the commit.
    pub(super) generations: Generations,
}

impl GenerationChange {
    /// Stores the generations with the batch.
    pub fn write(&self, batch: &mut engine::Batch) {
        self.generations.write(batch);
    }

    /// Returns the view after the change.
    pub fn of(&self, now: &View) -> View {
        let Generations {
            active, standby, ..
        } = &self.generations;
        let kept = |generation: &Generation| now.side(Some(generation.number)).cloned();
        View {
            active: kept(active).unwrap_or_else(|| now.active.clone()),
            standby: standby.as_ref().map(|generation| {
                kept(generation).unwrap_or_else(|| now.active.without_codes(generation.clone()))
            }),
            images: now.images,
            commit: now.commit,
            broken: now.broken,
        }
    }
}
