//! Reading a store through when it is opened: the directory that its pages amount to, and whatever is wrong with them.
//! What is damaged is named and left out, and the rest is read; knows nothing of who will search it.

use std::{collections::BTreeSet, ops::Range, thread};

use super::{
    column::Column,
    damage::Damage,
    directory::Directory,
    error::IndexError,
    generation::Generation,
    key::{self, Key},
    page::{self, Page, SLOTS, Words},
    pages::Pages,
    probe::Kind,
    record::{ImageId, Row},
    segment::Segment,
    state::{self, State},
};

/// What was found.
pub struct Loaded {
    /// The directory.
    pub directory: Directory,
    /// The summary, with the numbers that are free in any case.
    pub state: State,
    /// What is wrong.
    pub damage: Vec<Damage>,
}

/// What a run of pages holds.
#[derive(Default)]
struct Part {
    sequences: Vec<u32>,
    /// Of each length, a word an image.
    codes: Vec<Vec<u64>>,
    /// Label and image.
    labels: Vec<(u64, u32)>,
    /// Hashes, one an image.
    ids: Vec<u64>,
    marks: u64,
    damage: Vec<Damage>,
}

/// Reads all pages of a generation, on all cores. `hash` is that of ids.
///
/// # Errors
/// [`IndexError::Store`] where sled itself gives up.
pub fn load(
    db: &sled::Db,
    generation: &Generation,
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
    let end = end_of_pages(db, generation)?;
    let mut state = stored.unwrap_or_default();
    // Whatever a damaged summary said, these are free.
    state.next = state.next.max(end.saturating_mul(SLOTS));
    if stored.is_none() {
        state.names = end_of_names(db)?;
    }

    let threads = thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
    let each = end.div_ceil(threads).max(1);
    let parts: Vec<Result<Part, IndexError>> = thread::scope(|scope| {
        let runs = (0..end).step_by(each as usize);
        let runs = runs.map(|start| start..end.min(start + each));
        let parts: Vec<_> = runs
            .map(|pages| scope.spawn(|| read(db, generation, pages, &hash)))
            .collect();
        parts
            .into_iter()
            .map(|part| part.join().unwrap_or_else(|_| Ok(Part::panicked())))
            .collect()
    });
    let parts: Vec<Part> = parts.into_iter().collect::<Result<_, _>>()?;

    let images = parts.iter().map(|part| part.sequences.len() as u64).sum();
    let marks = parts
        .iter()
        .fold(0u64, |sum, part| sum.wrapping_add(part.marks));
    for part in &parts {
        damage.extend_from_slice(&part.damage);
    }
    if stored.is_some_and(|state| (state.images, state.marks) != (images, marks)) {
        let why = format!("{} were stored and {images} are found", state.images);
        damage.push(Damage {
            what: "the list of images".to_owned(),
            why,
        });
    }
    let directory = directory(generation, &parts, images);
    Ok(Loaded {
        directory,
        state: State {
            images,
            marks,
            ..state
        },
        damage,
    })
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

/// The directory of what was read: one segment, its columns made on all cores.
fn directory(generation: &Generation, parts: &[Part], images: u64) -> Directory {
    let empty = Directory::new(&generation.lengths);
    let column = |(at, &kind): (usize, &Kind)| {
        let mut pairs: Vec<(u64, u32)> = Vec::new();
        for part in parts {
            match kind {
                Kind::Codes(_) => {
                    let words = part.codes.get(at).into_iter().flatten().copied();
                    pairs.extend(words.zip(part.sequences.iter().copied()));
                }
                Kind::Labels => pairs.extend_from_slice(&part.labels),
                Kind::Ids => {
                    let words = part.ids.iter().copied();
                    pairs.extend(words.zip(part.sequences.iter().copied()));
                }
            }
        }
        pairs.sort_unstable();
        pairs.dedup();
        Column::from_sorted(kind, &pairs)
    };
    let added = thread::scope(|scope| {
        let column = &column;
        let columns: Vec<_> = (empty.kinds().iter().enumerate())
            .map(|each| scope.spawn(move || column(each)))
            .collect();
        let none = |kind: &Kind| Column::from_sorted(*kind, &[]);
        let columns = columns.into_iter().zip(empty.kinds());
        columns
            .map(|(column, kind)| column.join().unwrap_or_else(|_| none(kind)))
            .collect()
    });
    let none = |kind: &Kind| Column::from_sorted(*kind, &[]);
    let segment = Segment {
        added,
        removed: empty.kinds().iter().map(none).collect(),
    };
    let distinct = empty.distinct_after(&segment);
    empty.with(segment.into(), distinct, images)
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
    hash: impl Fn(&ImageId) -> u32,
) -> Result<Part, IndexError> {
    let lengths = &generation.lengths;
    let mut part = Part {
        codes: vec![Vec::new(); lengths.len()],
        ..Part::default()
    };
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
        let of_rows = decode(rows.take(number), page::decode::<Row>);
        let of_codes = decode(codes.take(number), |bytes| {
            page::decode_codes(bytes, lengths)
        });
        match (of_rows, of_codes) {
            (Ok(rows), Ok(codes)) => part.take(number, &rows, &codes, &hash),
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

fn decode<T>(
    bytes: Option<sled::IVec>,
    read: impl Fn(&[u8]) -> Result<Page<T>, &'static str>,
) -> Result<Page<T>, &'static str> {
    read(&bytes.ok_or("it is missing")?)
}

impl Part {
    fn take(
        &mut self,
        number: u32,
        rows: &Page<Row>,
        codes: &Page<Words>,
        hash: impl Fn(&ImageId) -> u32,
    ) {
        for slot in rows.keys().chain(codes.keys()).collect::<BTreeSet<_>>() {
            let sequence = number * SLOTS + u32::from(*slot);
            let (Some(row), Some(words)) = (rows.get(slot), codes.get(slot)) else {
                let has = if rows.contains_key(slot) {
                    "a row and no codes"
                } else {
                    "codes and no row"
                };
                self.damage.push(Damage {
                    what: format!("the image with sequence number {sequence}"),
                    why: format!("it has {has}"),
                });
                continue;
            };
            let id = ImageId::from(row.id.clone());
            self.sequences.push(sequence);
            for (column, word) in self.codes.iter_mut().zip(words) {
                column.push(*word);
            }
            self.labels
                .extend(row.labels.iter().map(|&label| (label.into(), sequence)));
            self.ids.push(hash(&id).into());
            self.marks = self.marks.wrapping_add(state::mark(sequence, &id));
        }
    }
}
