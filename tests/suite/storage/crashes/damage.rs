//! Opens stores with one truncated or changed file: everything that is read is true, and damage is
//! reported. A child process opens the store, so that a crash is an outcome like others.

use std::{
    collections::{BTreeMap, HashSet},
    env, fs,
    path::Path,
};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use scihcgrl::index::Index;

use crate::server::times;

use super::{DONE, FOLDER, IDS, WITHOUT_SKETCH, WRITERS, after, child, open, take, whole};

/// The steps of the store before it is damaged.
const STEPS: usize = 1000;

/// The other child process: opens a store that may be damaged, and prints its content.
#[test]
fn prints_the_content_of_a_folder() {
    let Ok(folder) = env::var(FOLDER) else { return };
    if env::var(DONE).is_ok() {
        return;
    }
    println!();
    let index = match Index::open_existing(folder.into(), 16 << 20) {
        Ok(index) => index,
        Err(error) => {
            let source = std::error::Error::source(&error)
                .map_or(String::new(), |source| format!(": {source}"));
            println!("refused {error}{source}");
            return;
        }
    };
    match index.verify() {
        Ok(damage) => damage.iter().for_each(|damage| println!("damage {damage}")),
        Err(error) => println!("damage {error}"),
    }
    for writer in 0..WRITERS {
        for number in 0..IDS {
            match whole(&index, writer, number) {
                Ok(Some(line)) => println!("image {writer} {number} {line}"),
                Ok(None) => {}
                Err(error) => println!("damage {error}"),
            }
        }
    }
    println!("end");
}

fn content(folder: &Path) -> Vec<String> {
    let output = child("damage::prints_the_content_of_a_folder")
        .env(FOLDER, folder)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let kinds = ["refused ", "damage ", "image ", "end"];
    let lines = text
        .lines()
        .filter(|line| kinds.iter().any(|kind| line.starts_with(kind)));
    let mut lines: Vec<String> = lines.map(str::to_owned).collect();
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        let panicked = error
            .lines()
            .find(|line| line.contains("panicked"))
            .unwrap_or("died");
        lines.push(format!("crashed {panicked}"));
    }
    lines
}

/// Truncates or changes one file of an intact store. Every image that is read is, or once was,
/// complete and true. If an image differs or is missing, damage is reported.
#[test]
fn damaged_files_are_named_and_add_nothing() {
    let whole = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    // Opened twice, so that sled also keeps a snapshot of its page table.
    for steps in [0..900, 900..STEPS] {
        let index = open(whole.path()).unwrap();
        for number in steps {
            for writer in 0..WRITERS {
                runtime.block_on(take(&index, writer, number));
            }
        }
        index.close().unwrap();
    }
    let good = content(whole.path());
    assert_eq!(good.last().map(String::as_str), Some("end"));
    let images = good.iter().filter(|line| line.starts_with("image")).count();
    assert!(images > 100 && good.len() == images + 1, "{good:?}");

    let once: HashSet<String> = (0..WRITERS)
        .flat_map(|writer| (0..=STEPS).map(move |steps| (writer, after(writer, steps))))
        .flat_map(|(writer, images)| {
            let lines = images.into_iter();
            lines.map(move |(number, line)| format!("image {writer} {number} {line}"))
        })
        .collect();

    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut tally: BTreeMap<&str, usize> = BTreeMap::new();
    let rounds = times(60, 1000);
    for round in 0..rounds {
        let folder = tempfile::tempdir().unwrap();
        let mut files = Vec::new();
        for entry in fs::read_dir(whole.path()).unwrap() {
            let path = entry.unwrap().path();
            let copy = folder.path().join(path.file_name().unwrap());
            if path.is_dir() {
                fs::create_dir(&copy).unwrap();
                continue;
            }
            fs::copy(&path, &copy).unwrap();
            files.push(copy);
        }
        files.sort();
        // The largest file has most of the data.
        let large = files
            .iter()
            .max_by_key(|path| fs::metadata(path).unwrap().len())
            .unwrap();
        let path = if round % 4 == 0 {
            &files[rng.random_range(0..files.len())]
        } else {
            large
        };
        let mut bytes = fs::read(path).unwrap();
        let offset = rng.random_range(0..bytes.len());
        let what = match round % 3 {
            0 => {
                bytes.truncate(offset);
                "cut off"
            }
            1 => {
                bytes[offset] ^= rng.random_range(1..=255u8);
                "one byte changed"
            }
            _ => {
                let end = bytes.len().min(offset + 4096);
                bytes[offset..end].fill(0);
                "4096 bytes zeroed"
            }
        };
        fs::write(path, bytes).unwrap();
        let name = path.file_name().unwrap().to_string_lossy();
        let content = content(folder.path());
        let context = format!("round {round}: {what} at {offset} of {name}");
        let lost = good.iter().filter(|line| !content.contains(line)).count();
        let older = content
            .iter()
            .filter(|line| line.starts_with("image") && !good.contains(line));
        let older: Vec<_> = older.collect();
        let was_true = |line: &&&String| once.contains(line.trim_end_matches(WITHOUT_SKETCH));
        let invented: Vec<_> = older.iter().filter(|line| !was_true(line)).collect();
        assert!(invented.is_empty(), "{context}: {invented:?}");
        let has_line = |kind: &str| content.iter().any(|line| line.starts_with(kind));
        let outcome = match (lost, older.len(), has_line("damage")) {
            _ if has_line("crashed") => "crashed",
            _ if has_line("refused") => "refused, with the reason",
            (0, 0, false) => "no harm",
            (0, 0, true) => "damage named, nothing lost",
            (_, 0, true) => "damage named, the rest read",
            (_, _, true) => "damage named, an earlier state read",
            (_, _, false) => "lost without a report",
        };
        if ["crashed", "lost without a report"].contains(&outcome) || env::var("SHOW").is_ok() {
            let words = content.iter().filter(|line| !line.starts_with("image"));
            println!(
                "{context}: {outcome}, {lost} lines missing: {:?}",
                words.take(3).collect::<Vec<_>>()
            );
        }
        *tally.entry(outcome).or_default() += 1;
    }
    println!("{images} images, {rounds} damaged stores: {tally:?}");
    assert!(
        !tally.contains_key("crashed") && !tally.contains_key("lost without a report"),
        "{tally:?}"
    );
}
