//! Reads all pages of a store when it is opened, and builds the views of its generations. Names
//! damaged pages and leaves them out.

use std::{ops::Range, sync::Arc, thread};

use crate::{
    disk::{
        engine,
        generations::Generations,
        key::{self, Key},
        page::{self, Pages, SLOTS},
        position,
        row::Row,
        state::State,
    },
    memory::sketches::array::Array,
    open::{
        columns,
        part::{Part, Strict},
        sketches::{self, Run},
    },
    types::{
        config::SketchStorage,
        error::{Damage, IndexError},
        field::Field,
        generation::Generation,
        id::ImageId,
    },
    view::generations::GenerationView,
};

/// The loaded store.
pub struct Loaded {
    /// The active generation.
    pub active: GenerationView,
    /// The standby generation. Images on its damaged code pages count as not coded yet.
    pub standby: Option<GenerationView>,
    /// The summary. Its next free numbers are valid even if the stored summary is damaged.
    pub state: State,
    /// The damage.
    pub damage: Vec<Damage>,
}

/// Reads all pages on all cores. `hash` is the hash of ids.
///
/// # Errors
/// [`IndexError::Store`] if sled fails.
pub fn load(
    db: &engine::Db,
    generations: &Generations,
    fields: &Arc<[Field]>,
    sketch_storage: Option<SketchStorage>,
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
    // These numbers are free even if the summary is wrong. A store that follows a log must number
    // images exactly as its replicas do.
    if position::position(db)?.is_none() {
        state.next = state.next.max(end.saturating_mul(SLOTS));
    }
    if stored.is_none() {
        state.names = end_of_names(db)?;
    }
    let mut side = |generation: &Generation, parts: &[Part]| {
        let (sketches, damaged) = sketches::load(db, generation, sketch_storage, &runs(parts))?;
        damage.extend(damaged);
        Ok::<_, IndexError>(GenerationView {
            generation: Arc::new(generation.clone()),
            directory: Arc::new(columns::directory(generation, fields.clone(), parts)),
            sketches,
            uncoded: parts.iter().map(|part| part.uncoded).sum(),
        })
    };
    let standby = generations.standby.as_ref().map(|generation| {
        let parts = parts(db, generation, fields, end, Strict::No, &hash)?;
        side(generation, &parts)
    });
    let standby = standby.transpose()?;
    let parts = parts(db, &generations.active, fields, end, Strict::Yes, &hash)?;
    let active = side(&generations.active, &parts)?;
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
        active,
        standby,
        state: State {
            images,
            marks,
            ..state
        },
        damage,
    })
}

/// Reads the rows, the values and a generation's codes, one run of pages per thread.
fn parts(
    db: &engine::Db,
    generation: &Generation,
    fields: &[Field],
    end: u32,
    strict: Strict,
    hash: impl Fn(&ImageId) -> u32 + Sync,
) -> Result<Vec<Part>, IndexError> {
    let cores = u32::try_from(columns::cores()).unwrap_or(u32::MAX);
    let each = end.div_ceil(cores).max(1);
    let each = each.next_multiple_of(Array::ALIGNED / SLOTS);
    thread::scope(|scope| {
        let hash = &hash;
        let runs = (0..end).step_by(each as usize);
        let runs = runs.map(|start| start..end.min(start + each));
        let parts: Vec<_> = runs
            .map(|pages| scope.spawn(move || read(db, generation, fields, pages, strict, hash)))
            .collect();
        parts
            .into_iter()
            .map(|part| part.join().unwrap_or_else(|_| Ok(Part::panicked())))
            .collect()
    })
}

fn runs(parts: &[Part]) -> Vec<Run<'_>> {
    let runs = parts.iter().map(|part| Run {
        sequences: part.run.clone(),
        coded: &part.coded,
    });
    runs.collect()
}

/// The number after the last page, damaged or not.
fn end_of_pages(db: &engine::Db, generation: &Generation) -> Result<u32, IndexError> {
    let rows = db.range(key::rows(0..u32::MAX)).next_back().transpose()?;
    let codes = db
        .range(key::codes(generation.number, 0..u32::MAX))
        .next_back()
        .transpose()?;
    let after = |entry: Option<(engine::IVec, _)>| match Key::from_bytes(&entry?.0)? {
        Key::Rows(page) | Key::Codes { page, .. } => Some(page + 1),
        _ => None,
    };
    Ok(after(rows).max(after(codes)).unwrap_or(0))
}

fn end_of_names(db: &engine::Db) -> Result<u32, IndexError> {
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
    db: &engine::Db,
    generation: &Generation,
    fields: &[Field],
    pages: Range<u32>,
    strict: Strict,
    hash: impl Fn(&ImageId) -> u32,
) -> Result<Part, IndexError> {
    let lengths = &generation.lengths;
    let mut part = Part::of(
        pages.start * SLOTS..pages.end.saturating_mul(SLOTS),
        lengths.len(),
        fields.len(),
    );
    let rows_of = |key: Key| match key {
        Key::Rows(page) => Some(page),
        _ => None,
    };
    let codes_of = |key: Key| match key {
        Key::Codes { page, .. } => Some(page),
        _ => None,
    };
    let values_of = |key: Key| match key {
        Key::Values { page, .. } => Some(page),
        _ => None,
    };
    let values = fields.iter().map(|field| {
        let range = key::values(field.number, pages.clone());
        Pages::new(db.range(range), values_of)
    });
    let mut values: Vec<_> = values.collect();
    let mut rows = Pages::new(db.range(key::rows(pages.clone())), rows_of);
    let range = key::codes(generation.number, pages);
    let mut codes = Pages::new(db.range(range), codes_of);
    loop {
        let heads = [rows.peek()?, codes.peek()?];
        let Some(number) = heads.into_iter().flatten().min() else {
            return Ok(part);
        };
        let (of_rows, of_codes) = (rows.take(number), codes.take(number));
        let known = part.sequences.len();
        let missing = "it is missing";
        let of_rows = (of_rows.ok_or(missing)).and_then(|bytes| page::decode_slots::<Row>(&bytes));
        let of_codes = (of_codes.as_ref().ok_or(missing))
            .and_then(|bytes| page::decode_code_slots(bytes, lengths));
        match (of_rows, of_codes) {
            (Ok(rows), Ok(codes)) => part.add_page(number, rows, Some(codes), strict, &hash),
            (Ok(rows), Err(_)) if strict == Strict::No => {
                let none = None::<std::iter::Empty<(u8, std::iter::Empty<u64>)>>;
                part.add_page(number, rows, none, strict, &hash);
            }
            (rows, codes) => {
                let rows = rows.err().map(|why| Damage::rows(number, why));
                let codes = codes
                    .err()
                    .map(|why| Damage::codes(number, generation.number, why));
                part.damage.extend(rows.into_iter().chain(codes));
            }
        }
        for (at, (field, values)) in fields.iter().zip(&mut values).enumerate() {
            // Pages of lost images are skipped.
            while let Some(page) = values.peek()?.filter(|page| *page <= number) {
                let bytes = values.take(page).filter(|_| page == number);
                if let Some(bytes) = bytes {
                    part.add_values(at, field, number, &bytes, known);
                }
            }
        }
    }
}
