//! The staged changes of a group: pages, payloads, names, and the batch to apply. Reads unchanged
//! pages from the store.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    sync::Arc,
};

use serde_json::Value;

use crate::{
    disk::{
        engine,
        fields::Words,
        key::Key,
        names::Names,
        page::{self, CodeWords, Page},
        row::{PackedId, Row},
        sketch_page,
    },
    types::{
        error::IndexError,
        field::{Field, FieldType, FieldValue, word},
        id::ImageId,
        sketch::Sketch,
    },
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
    /// The fields of the view.
    pub fields: Arc<[Field]>,
    /// The values pages read so far, of each field.
    pub values: Vec<HashMap<u32, ValuesPage>>,
    /// The values that are missing in the directory.
    pub repairs: Vec<Repair>,
    /// The stored form of staged payloads; `None` for removed ones.
    payloads: HashMap<u32, Option<engine::IVec>>,
    /// The change of the number of images of each name; see
    /// [`count_named`](crate::memory::directory::Directory::count_named).
    named: HashMap<u32, i64>,
    /// The size of the staged payloads in bytes.
    pub bytes: usize,
}

/// An image after a write.
pub struct NewState {
    /// Its row.
    pub row: Row,
    /// Its codes in each generation; see [`StoredImage::words`].
    pub words: Vec<Option<CodeWords>>,
    /// Its words in each field of the view.
    pub values: Vec<Words>,
}

/// A values page.
pub struct ValuesPage {
    /// The words of each image that has any.
    pub words: Page<Words>,
    /// True if it must be written.
    pub is_changed: bool,
}

impl ValuesPage {
    /// Stores the words of an image. Returns true if they differ from those before.
    pub fn set(&mut self, slot: u8, words: Words) -> bool {
        let before = self.words.get(&slot).map_or(&[][..], Vec::as_slice);
        if words == before {
            return false;
        }
        if words.is_empty() {
            self.words.remove(&slot);
        } else {
            self.words.insert(slot, words);
        }
        self.is_changed = true;
        true
    }
}

/// Words of an image that its values page lacked because it was damaged.
pub struct Repair {
    /// The sequence number of the image.
    pub sequence: u32,
    /// The index of the field.
    pub field: usize,
    /// The words.
    pub words: Words,
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
    /// Its words in each field of the view.
    pub values: Vec<Words>,
}

impl<'a> Staged<'a> {
    /// Starts with no changes.
    pub fn new(store: &'a Store, db: Arc<engine::Db>, names: &'a mut Names) -> Self {
        let view = store.view();
        let codes = view.sides().map(|_| HashMap::new()).collect();
        let sketches = view.sides().map(|_| HashMap::new()).collect();
        let fields = view.active.directory.fields().clone();
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
            values: fields.iter().map(|_| HashMap::new()).collect(),
            fields,
            repairs: Vec::new(),
            payloads: HashMap::new(),
            named: HashMap::new(),
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
            let fields = 0..self.fields.len();
            let values =
                fields.map(|field| Ok(self.values(field, number)?.words.get(&slot).cloned()));
            let values: Vec<Option<Words>> = values.collect::<Result<_, IndexError>>()?;
            return Ok(Some(StoredImage {
                sequence,
                row,
                words,
                values: values.into_iter().map(Option::unwrap_or_default).collect(),
            }));
        }
        Ok(None)
    }

    /// Reads the payload of an image, after the staged writes.
    pub fn payload(&self, sequence: u32, row: &Row) -> Result<Option<Value>, IndexError> {
        match self.payloads.get(&sequence) {
            Some(Some(sealed)) => Store::decode_payload(sequence, sealed).map(Some),
            Some(None) => Ok(None),
            None if row.payload => Store::payload(&self.db, sequence).map(Some),
            None => Ok(None),
        }
    }

    /// Stages a payload as JSON; `None` removes it.
    pub fn save_payload(&mut self, sequence: u32, json: Option<Vec<u8>>, was_there: bool) {
        let key = Key::Payload(sequence).to_bytes();
        let sealed = json.map(|json| engine::IVec::from(page::seal(json)));
        match &sealed {
            Some(sealed) => {
                self.bytes += sealed.len();
                self.batch.insert(key, sealed);
            }
            None if was_there => self.batch.remove(key),
            None => {}
        }
        self.payloads.insert(sequence, sealed);
    }

    /// Returns a row page for changing.
    pub fn rows(&mut self, number: u32) -> Result<&mut Page<Row>, IndexError> {
        if !self.rows.contains_key(&number) {
            self.rows.insert(number, Store::rows(&self.db, number)?);
        }
        Ok(self.rows.entry(number).or_default())
    }

    /// Reads a row page that is not changed, after the staged writes.
    pub fn read_rows(&self, number: u32) -> Result<Page<Row>, IndexError> {
        match self.rows.get(&number) {
            Some(rows) => Ok(rows.clone()),
            None => Store::rows(&self.db, number),
        }
    }

    /// Returns a values page of the field with this index. A damaged page is made again from the
    /// payloads of its images.
    pub fn values(&mut self, field: usize, number: u32) -> Result<&mut ValuesPage, IndexError> {
        if !self.values[field].contains_key(&number) {
            let page = match Store::values(&self.db, &self.fields[field], number) {
                Ok(words) => ValuesPage {
                    words,
                    is_changed: false,
                },
                Err(error @ IndexError::Corrupt { .. }) => {
                    tracing::error!(%error, "the values page is made again from the payloads");
                    self.rebuild(field, number)?
                }
                Err(error) => return Err(error),
            };
            self.values[field].insert(number, page);
        }
        let page = self.values[field].entry(number);
        Ok(page.or_insert_with(|| ValuesPage {
            words: Page::new(),
            is_changed: false,
        }))
    }

    /// Makes a values page from the payloads of its images, and records the values that the
    /// directory lacks. No write of this group has changed an image of the page yet, because each
    /// reads the page first.
    fn rebuild(&mut self, field: usize, number: u32) -> Result<ValuesPage, IndexError> {
        let mut page = ValuesPage {
            words: Page::new(),
            is_changed: true,
        };
        let mut repairs = Vec::new();
        for (slot, row) in self.read_rows(number)? {
            let sequence = number * page::SLOTS + u32::from(slot);
            let Some(words) = self.stored_words(field, sequence, &row)? else {
                continue;
            };
            let directory = &self.view.active.directory;
            let of = self.fields[field].number;
            let is_missing = |word: &u64| {
                let holders = directory.with_values(of, &[*word..=*word]);
                !holders.has(sequence)
            };
            let missing: Words = words.iter().copied().filter(is_missing).collect();
            page.set(slot, words);
            repairs.push(Repair {
                sequence,
                field,
                words: missing,
            });
        }
        for repair in repairs {
            let keywords = self.keywords(field, &repair.words).collect();
            self.count_names(Vec::new(), keywords)?;
            self.repairs.push(repair);
        }
        Ok(page)
    }

    /// The words of an image's payload in the field with this index; `None` if the payload is
    /// damaged.
    pub fn stored_words(
        &mut self,
        field: usize,
        sequence: u32,
        row: &Row,
    ) -> Result<Option<Words>, IndexError> {
        match self.payload(sequence, row) {
            Ok(payload) => self.words(field, payload.as_ref()).map(Some),
            Err(error @ IndexError::Corrupt { .. }) => {
                let path = &self.fields[field].path;
                tracing::error!(%error, field = %path, "filters by the field do not find the image");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The words of a payload in the field with this index. Assigns numbers to its keywords.
    pub fn words(&mut self, field: usize, payload: Option<&Value>) -> Result<Words, IndexError> {
        let values = self.fields[field].values(payload);
        let mut words = Vec::with_capacity(values.len());
        for value in values {
            words.push(match value {
                FieldValue::Null => word::NULL,
                FieldValue::NotHeld => word::NOT_HELD,
                FieldValue::Empty => word::EMPTY,
                FieldValue::Keyword(text) => word::of_keyword(self.number(&text)?),
                FieldValue::Word(word) => word,
            });
        }
        // The numbers of keywords are not in the order of their texts.
        words.sort_unstable();
        Ok(words)
    }

    /// The words of a payload in each field.
    pub fn words_of_all(&mut self, payload: Option<&Value>) -> Result<Vec<Words>, IndexError> {
        let fields = 0..self.fields.len();
        fields.map(|field| self.words(field, payload)).collect()
    }

    /// The numbers of the keywords among words of the field with this index.
    pub fn keywords(&self, field: usize, words: &[u64]) -> impl Iterator<Item = u32> {
        let is_keyword = self.fields[field].kind == FieldType::Keyword;
        let words = words.iter().filter(move |_| is_keyword);
        words.filter_map(|&word| word::keyword(word))
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

    /// Counts the names of an image: as a label and, in each field, as a keyword. Removes those
    /// that no image has any more.
    pub fn count_names(
        &mut self,
        mut before: Vec<u32>,
        mut after: Vec<u32>,
    ) -> Result<(), IndexError> {
        before.sort_unstable();
        after.sort_unstable();
        if before == after {
            return Ok(());
        }
        let mut changes: BTreeMap<u32, i64> = BTreeMap::new();
        for (names, change) in [(before, -1), (after, 1)] {
            for name in names {
                *changes.entry(name).or_default() += change;
            }
        }
        for (name, change) in changes {
            let counted = self.named.entry(name).or_default();
            *counted += change;
            // Only a name that loses an image can be unused.
            if change < 0 {
                let stored = self.view.active.directory.count_named(name);
                if i64::try_from(stored) == Ok(-*counted) {
                    self.names.forget(&self.db, &mut self.batch, name)?;
                }
            }
        }
        Ok(())
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
