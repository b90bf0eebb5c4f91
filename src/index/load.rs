//! Reading a store through when it is opened: the directory that its pages amount to, and whatever is wrong with them.
//! What is damaged is named and left out, and the rest is read; knows nothing of who will search it.

mod columns;

use std::{ops::Range, sync::Arc, thread};

use super::{
    damage::Damage,
    error::IndexError,
    generation::{Generation, Generations},
    key::{self, Key},
    page::{self, SLOTS},
    pages::Pages,
    present::Side,
    record::{ImageId, Row},
    state::{self, State},
};

/// What was found.
pub struct Loaded {
    /// What is searched.
    pub active: Side,
    /// What stands beside it. Of pages of its codes that are damaged it knows as little as of codes that were not made yet.
    pub beside: Option<Side>,
    /// The summary, with the numbers that are free in any case.
    pub state: State,
    /// What is wrong.
    pub damage: Vec<Damage>,
}

/// What a run of pages holds.
#[derive(Default)]
struct Part {
    sequences: Vec<u32>,
    /// The images that have codes.
    coded: Vec<u32>,
    /// Of each length, a word for each of these.
    codes: Vec<Vec<u64>>,
    /// How many images are marked as without codes.
    left_out: u64,
    /// Label and image.
    labels: Vec<(u64, u32)>,
    /// Hashes, one an image.
    ids: Vec<u64>,
    marks: u64,
    /// The block of names after the last that a row has one of.
    blocks: u64,
    damage: Vec<Damage>,
}

/// Reads all pages, on all cores. `hash` is that of ids.
///
/// # Errors
/// [`IndexError::Store`] where sled itself gives up.
pub fn load(
    db: &sled::Db,
    generations: &Generations,
    hash: impl Fn(&ImageId) -> u32 + Sync,
) -> Result<Loaded, IndexError> {
    let mut damage = Vec::new();
    let stored = match State::read(db) {
        Ok(state) => Some(state.unwrap_or_default()),
        Err(IndexError::Corrupt { what, why }) => {
            damage.push(Damage { what, why });
            None
        }
        Err(other) => return Err(other),
    };
    let end = end_of_pages(db, &generations.active)?;
    let mut state = stored.unwrap_or_default();
    // Whatever a damaged summary said, these are free.
    state.next = state.next.max(end.saturating_mul(SLOTS));
    if stored.is_none() {
        state.names = end_of_names(db)?;
    }
    let beside = generations.beside.as_ref().map(|generation| {
        let parts = parts(db, generation, end, Strict::No, &hash)?;
        Ok::<_, IndexError>(side(generation, &parts))
    });
    let parts = parts(db, &generations.active, end, Strict::Yes, &hash)?;
    let images = parts.iter().map(|part| part.sequences.len() as u64).sum();
    let marks = parts
        .iter()
        .fold(0u64, |sum, part| sum.wrapping_add(part.marks));
    for part in &parts {
        state.blocks = state.blocks.max(part.blocks);
        damage.extend_from_slice(&part.damage);
    }
    if stored.is_some_and(|state| (state.images, state.marks) != (images, marks)) {
        let why = format!("{} were stored and {images} are found", state.images);
        damage.push(Damage {
            what: "the list of images".to_owned(),
            why,
        });
    }
    Ok(Loaded {
        active: side(&generations.active, &parts),
        beside: beside.transpose()?,
        state: State {
            images,
            marks,
            ..state
        },
        damage,
    })
}

/// Whether an image without codes is damage.
#[derive(Clone, Copy, PartialEq)]
enum Strict {
    Yes,
    No,
}

/// Reads the rows and a generation's codes, run by run of pages.
fn parts(
    db: &sled::Db,
    generation: &Generation,
    end: u32,
    strict: Strict,
    hash: impl Fn(&ImageId) -> u32 + Sync,
) -> Result<Vec<Part>, IndexError> {
    let each = end.div_ceil(cores() as u32).max(1);
    thread::scope(|scope| {
        let hash = &hash;
        let runs = (0..end).step_by(each as usize);
        let runs = runs.map(|start| start..end.min(start + each));
        let parts: Vec<_> = runs
            .map(|pages| scope.spawn(move || read(db, generation, pages, strict, hash)))
            .collect();
        parts
            .into_iter()
            .map(|part| part.join().unwrap_or_else(|_| Ok(Part::panicked())))
            .collect()
    })
}

fn side(generation: &Generation, parts: &[Part]) -> Side {
    Side {
        generation: Arc::new(generation.clone()),
        directory: Arc::new(columns::directory(generation, parts)),
        left_out: parts.iter().map(|part| part.left_out).sum(),
    }
}

impl Part {
    fn panicked() -> Self {
        let damage = Damage {
            what: "the store".to_owned(),
            why: "reading it failed in a way that sled did not expect".to_owned(),
        };
        Part {
            damage: vec![damage],
            ..Part::default()
        }
    }
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, |cores| cores.get())
}

/// The page after the last one that there is, damaged or not.
fn end_of_pages(db: &sled::Db, generation: &Generation) -> Result<u32, IndexError> {
    let rows = db.range(key::rows(0..u32::MAX)).next_back().transpose()?;
    let codes = db
        .range(key::codes(generation.number, 0..u32::MAX))
        .next_back()
        .transpose()?;
    let after = |entry: Option<(sled::IVec, _)>| match Key::from_bytes(&entry?.0)? {
        Key::Rows(page) | Key::Codes { page, .. } => Some(page + 1),
        _ => None,
    };
    Ok(after(rows).max(after(codes)).unwrap_or(0))
}

fn end_of_names(db: &sled::Db) -> Result<u32, IndexError> {
    let range = Key::Number(0).to_bytes()..=Key::Number(u32::MAX).to_bytes();
    let last = db.range(range).next_back().transpose()?;
    Ok(
        match last.as_ref().and_then(|(key, _)| Key::from_bytes(key)) {
            Some(Key::Number(number)) => number.saturating_add(1),
            _ => 0,
        },
    )
}

fn read(
    db: &sled::Db,
    generation: &Generation,
    pages: Range<u32>,
    strict: Strict,
    hash: impl Fn(&ImageId) -> u32,
) -> Result<Part, IndexError> {
    let lengths = &generation.lengths;
    let mut part = Part::of(pages.len() * SLOTS as usize, lengths.len());
    let rows_of = |key: Key| match key {
        Key::Rows(page) => Some(page),
        _ => None,
    };
    let codes_of = |key: Key| match key {
        Key::Codes { page, .. } => Some(page),
        _ => None,
    };
    let mut rows = Pages::new(db.range(key::rows(pages.clone())), rows_of);
    let range = key::codes(generation.number, pages);
    let mut codes = Pages::new(db.range(range), codes_of);
    loop {
        let heads = [rows.peek()?, codes.peek()?];
        let Some(number) = heads.into_iter().flatten().min() else {
            return Ok(part);
        };
        let (of_rows, of_codes) = (rows.take(number), codes.take(number));
        let missing = "it is missing";
        let of_rows = (of_rows.ok_or(missing)).and_then(|bytes| page::decode_slots::<Row>(&bytes));
        let of_codes = (of_codes.as_ref().ok_or(missing))
            .and_then(|bytes| page::decode_code_slots(bytes, lengths));
        match (of_rows, of_codes) {
            (Ok(rows), Ok(codes)) => part.take(number, rows, Some(codes), strict, &hash),
            (Ok(rows), Err(_)) if strict == Strict::No => {
                let none = None::<std::iter::Empty<(u8, std::iter::Empty<u64>)>>;
                part.take(number, rows, none, strict, &hash);
            }
            (rows, codes) => {
                let rows = rows.err().map(|why| Damage::rows(number, why));
                let codes = codes
                    .err()
                    .map(|why| Damage::codes(number, generation.number, why));
                part.damage.extend(rows.into_iter().chain(codes));
            }
        }
    }
}

impl Part {
    /// With room for so many images.
    fn of(images: usize, lengths: usize) -> Self {
        Part {
            sequences: Vec::with_capacity(images),
            coded: Vec::with_capacity(images),
            codes: vec![Vec::with_capacity(images); lengths],
            ids: Vec::with_capacity(images),
            ..Part::default()
        }
    }

    /// Takes in what a page holds.
    fn take(
        &mut self,
        number: u32,
        rows: Vec<(u8, Row)>,
        codes: Option<impl Iterator<Item = (u8, impl Iterator<Item = u64>)>>,
        strict: Strict,
        hash: impl Fn(&ImageId) -> u32,
    ) {
        let mut codes = codes.into_iter().flatten().peekable();
        for (slot, row) in rows {
            while let Some((alone, _)) = codes.next_if(|(other, _)| *other < slot) {
                self.half(number, alone, "codes and no row");
            }
            let sequence = sequence(number, slot);
            match codes.next_if(|(other, _)| *other == slot) {
                Some((_, words)) => self.take_codes(sequence, words),
                None if strict == Strict::No => {}
                None => {
                    self.half(number, slot, "a row and no codes");
                    continue;
                }
            }
            let id = ImageId::from(row.id);
            self.sequences.push(sequence);
            self.labels
                .extend(row.labels.iter().map(|&label| (label.into(), sequence)));
            self.ids.push(hash(&id).into());
            let after = row.original.map_or(0, |name| name.block() + 1);
            self.blocks = self.blocks.max(after);
            self.marks = self.marks.wrapping_add(state::mark(sequence, &id));
        }
        for (alone, _) in codes {
            self.half(number, alone, "codes and no row");
        }
    }

    fn take_codes(&mut self, sequence: u32, words: impl Iterator<Item = u64>) {
        let mut any = false;
        for (column, word) in self.codes.iter_mut().zip(words) {
            column.push(word);
            any = true;
        }
        match any {
            true => self.coded.push(sequence),
            false => self.left_out += 1,
        }
    }

    fn half(&mut self, number: u32, slot: u8, has: &str) {
        self.damage.push(Damage {
            what: format!("the image with sequence number {}", sequence(number, slot)),
            why: format!("it has {has}"),
        });
    }
}

fn sequence(page: u32, slot: u8) -> u32 {
    page * SLOTS + u32::from(slot)
}
