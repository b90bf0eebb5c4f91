//! What the writes of a group have put aside: pages, payloads and names over those stored, and the batch to be applied.
//! Reads what was not touched from the store; knows nothing of what a write means.

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

/// See the module.
pub struct Staged<'a> {
    store: &'a Store,
    db: Arc<engine::Db>,
    names: &'a mut Names,
    /// All but pages and the summary, which come last.
    pub batch: engine::Batch,
    /// Where the images are that were asked for, as the writes staged so far leave them.
    pub places: HashMap<ImageId, Option<u32>>,
    /// Pages of rows that are to be written.
    pub rows: HashMap<u32, Page<Row>>,
    /// What is present while the group is staged, but for merges.
    pub view: Arc<View>,
    /// Pages of each generation's codes that are to be written.
    pub codes: Vec<HashMap<u32, Page<CodeWords>>>,
    /// Pages of each generation's sketches that are to be written.
    pub sketches: Vec<HashMap<u32, Page<Sketch>>>,
    payloads: HashMap<u32, Option<Value>>,
    /// How many more images have a label.
    labels: HashMap<u32, i64>,
    /// The size of the payloads.
    pub bytes: usize,
}

/// An image as it is before a write.
pub struct Found {
    /// Its number.
    pub sequence: u32,
    /// What is kept of it but its codes.
    pub row: Row,
    /// Its codes in each generation, the active one first; none in one beside that has not come to it.
    pub words: Vec<Option<CodeWords>>,
}

impl<'a> Staged<'a> {
    /// Nothing yet.
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
            places: HashMap::new(),
            rows: HashMap::new(),
            codes,
            sketches,
            payloads: HashMap::new(),
            labels: HashMap::new(),
            bytes: 0,
        }
    }

    /// The first number without a name.
    pub fn next_name(&self) -> u32 {
        self.names.next()
    }

    /// An image as the writes staged so far leave it.
    pub fn find(&mut self, id: &ImageId) -> Result<Option<Found>, IndexError> {
        let packed = PackedId::from(id);
        let candidates: Vec<u32> = match self.places.get(id) {
            Some(place) => place.iter().copied().collect(),
            None => {
                let directory = &self.view.active.directory;
                directory.with_id(self.store.hash(id)).collect()
            }
        };
        for sequence in candidates {
            let (number, slot) = page::place(sequence);
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
            return Ok(Some(Found {
                sequence,
                row,
                words,
            }));
        }
        Ok(None)
    }

    /// The payload of an image.
    pub fn payload(&self, image: &Found) -> Result<Option<Value>, IndexError> {
        match self.payloads.get(&image.sequence) {
            Some(staged) => Ok(staged.clone()),
            None if image.row.payload => Store::payload(&self.db, image.sequence).map(Some),
            None => Ok(None),
        }
    }

    /// Stages a payload, as JSON and as it is, or that there is none.
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

    /// A page of rows, to be changed.
    pub fn rows(&mut self, number: u32) -> Result<&mut Page<Row>, IndexError> {
        if !self.rows.contains_key(&number) {
            self.rows.insert(number, Store::rows(&self.db, number)?);
        }
        Ok(self.rows.entry(number).or_default())
    }

    /// A page of a side's codes, to be changed. A damaged one of the generation beside is made anew.
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

    /// The sketch of an image in a side's generation, as the writes staged so far leave it.
    pub fn sketch(&self, side: usize, sequence: u32) -> Result<Option<Sketch>, IndexError> {
        let (number, slot) = sketch_page::place(sequence);
        if let Some(page) = self.sketches.get(side).and_then(|pages| pages.get(&number)) {
            return Ok(page.get(&slot).cloned());
        }
        let generation = self.view.sides().nth(side).map(|side| &side.generation);
        match generation.filter(|generation| generation.sketch.is_some()) {
            Some(generation) => Ok(Store::sketches(&self.db, generation, number)?.remove(&slot)),
            None => Ok(None),
        }
    }

    /// A page of a side's sketches, to be changed; none where its generation has no sketches.
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

    /// The number of a name, which gets one if it has none.
    pub fn number(&mut self, name: &str) -> Result<u32, IndexError> {
        self.names.number(&self.db, &mut self.batch, name)
    }

    /// Takes note that an image has a label, or has it no more. The name of one that no image has any more is forgotten.
    pub fn count_label(&mut self, number: u32, change: i64) -> Result<(), IndexError> {
        let counted = self.labels.entry(number).or_default();
        *counted += change;
        let stored = self.view.active.directory.count_labelled(number) as i64;
        match stored + *counted {
            0 => self.names.forget(&self.db, &mut self.batch, number),
            _ => Ok(()),
        }
    }

    /// Those of several.
    pub fn numbers(&mut self, names: &[String]) -> Result<Vec<u32>, IndexError> {
        names.iter().map(|name| self.number(name)).collect()
    }

    /// The names of numbers.
    pub fn named(&self, numbers: &[u32]) -> Result<Vec<String>, IndexError> {
        let name = |&number| self.names.name(&self.db, number);
        numbers.iter().map(name).collect()
    }
}

/// A change of generations that a commit makes.
pub struct GenerationChange {
    /// What there are then.
    pub(super) generations: Generations,
}

impl GenerationChange {
    /// Makes it durable with the batch.
    pub fn write(&self, batch: &mut engine::Batch) {
        self.generations.write(batch);
    }

    /// What is present after it.
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
