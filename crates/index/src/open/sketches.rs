//! Reads a generation's sketches when an index is opened. Names damaged pages and leaves them out.

use std::{fs, ops::Range, thread};

use crate::{
    disk::{
        engine,
        key::{self, Key},
        sketch_page,
    },
    memory::sketches::{Sketches, array::Array},
    types::{
        config::SketchStorage,
        error::{Damage, IndexError},
        generation::Generation,
    },
};

/// The images with codes in a run of pages.
pub struct Run<'a> {
    /// The sequence numbers of the run. Runs are in order and start at multiples of
    /// [`Array::ALIGNED`].
    pub sequences: Range<u32>,
    /// The images with codes, ascending.
    pub coded: &'a [u32],
}

/// Reads the sketch of each image that has codes, with one thread per run. Returns the damage it
/// finds.
///
/// # Errors
/// [`IndexError::Store`] if sled fails.
pub fn load(
    db: &engine::Db,
    generation: &Generation,
    sketch_storage: Option<SketchStorage>,
    runs: &[Run],
) -> Result<(Sketches, Vec<Damage>), IndexError> {
    let Some(width) = generation.sketch else {
        return Ok((Sketches::None, Vec::new()));
    };
    let images: usize = runs.iter().map(|run| run.coded.len()).sum();
    let sketch_storage =
        sketch_storage.unwrap_or_else(|| SketchStorage::for_size((images * width) as u64));
    let read: Result<Vec<_>, IndexError> = thread::scope(|scope| {
        let threads: Vec<_> = runs
            .iter()
            .map(|run| scope.spawn(move || read(db, generation, width, sketch_storage, run)))
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Ok((Array::new(width), vec![panicked()])))
            })
            .collect()
    });
    let (arrays, damage): (Vec<_>, Vec<_>) = read?.into_iter().unzip();
    let sketches = match sketch_storage {
        SketchStorage::Memory => Sketches::Memory(Array::join(width, arrays)),
        SketchStorage::Disk => Sketches::Disk,
    };
    Ok((sketches, damage.concat()))
}

fn panicked() -> Damage {
    Damage {
        what: "the sketches".to_owned(),
        why: "reading them panicked".to_owned(),
    }
}

/// Reads the sketches of a run, into an array if they are kept in memory.
fn read(
    db: &engine::Db,
    generation: &Generation,
    width: usize,
    sketch_storage: SketchStorage,
    run: &Run,
) -> Result<(Array, Vec<Damage>), IndexError> {
    let (mut array, mut damage) = (Array::new(width), Vec::new());
    let pages = sketch_page::page_and_slot(run.sequences.start).0
        ..run.sequences.end.div_ceil(sketch_page::SLOTS);
    let mut entries = db.range(key::sketches(generation.number, pages)).peekable();
    for of_page in run
        .coded
        .chunk_by(|a, b| sketch_page::page_and_slot(*a).0 == sketch_page::page_and_slot(*b).0)
    {
        let (number, _) = sketch_page::page_and_slot(of_page[0]);
        let mut found = None;
        // Pages of images without codes are skipped.
        while let Some(entry) = entries.next_if(|entry| is_before(entry, number + 1)) {
            let (key, value) = entry?;
            found = (numbered(&key) == Some(number)).then_some(value);
        }
        let mut wrong = |why| damage.push(Damage::sketches(number, generation.number, why));
        let Some(bytes) = found else {
            wrong("it is missing");
            continue;
        };
        let slots = match sketch_page::slots(&bytes, width) {
            Ok(slots) => slots,
            Err(why) => {
                wrong(why);
                continue;
            }
        };
        let mut coded = of_page.iter().peekable();
        let mut lacking = 0;
        for (slot, bytes) in slots {
            let sequence = number * sketch_page::SLOTS + u32::from(slot);
            while coded.next_if(|next| **next < sequence).is_some() {
                lacking += 1;
            }
            if coded.next_if_eq(&&sequence).is_some() && sketch_storage == SketchStorage::Memory {
                array.insert(sequence, bytes.iter().map(|byte| byte.cast_signed()));
            }
        }
        if lacking + coded.count() > 0 {
            wrong("it lacks images that have codes");
        }
    }
    Ok((array, damage))
}

fn is_before(entry: &Result<(engine::IVec, engine::IVec), engine::Error>, end: u32) -> bool {
    match entry {
        Ok((key, _)) => numbered(key).is_none_or(|number| number < end),
        Err(_) => true,
    }
}

fn numbered(key: &[u8]) -> Option<u32> {
    match Key::from_bytes(key)? {
        Key::Sketches { page, .. } => Some(page),
        _ => None,
    }
}

impl SketchStorage {
    /// Chooses memory if the sketches take at most half of the free memory.
    pub fn for_size(bytes: u64) -> Self {
        match free() {
            Some(free) if bytes > free / 2 => SketchStorage::Disk,
            _ => SketchStorage::Memory,
        }
    }
}

/// The bytes of memory that this process may still take, if known: the lower of the machine's
/// available memory and what is left of the container's limit.
fn free() -> Option<u64> {
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("MemAvailable:"))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    });
    // The file reads "max" if there is no limit.
    let container = number("/sys/fs/cgroup/memory.max").map(|limit| {
        let taken = number("/sys/fs/cgroup/memory.current").unwrap_or(0);
        limit.saturating_sub(taken)
    });
    machine.into_iter().chain(container).min()
}
