//! A data folder is made of an export: every original is checked against its digest, and nothing is served until all of it was there.
//! Knows the form that `export` writes and the order of its files; not how a store keeps images.

use std::{
    collections::VecDeque,
    io::{self, Read},
};

use tokio::sync::mpsc;

use crate::{
    gallery::{Gallery, Originals, check_integers, check_labels, check_payload},
    image,
    index::{Damage, ImportedImage, Index, IndexConfig, Requirement, Times},
    snapshots::{
        SnapshotError, Target,
        export::{END, End, FORMAT, HEAD, Head, Line, PAGE, parse, sha256},
        file::blocking,
        originals::{FETCHED_BYTES, MOST_ORIGINAL, plain},
        restore::{begin, complete},
    },
};

/// What the files that have images line by line end in.
const JSON_LINES: &str = ".jsonl";
/// The most bytes of such a file, and of a line.
const MOST_LINES: u64 = 64 << 20;
const MOST_LINE: usize = 256 << 10;

enum Part {
    Head(Head),
    Images(Vec<ImportedImage>),
}

/// Makes a data folder of an export, and tells what that said of itself, how many images there are, and what is damaged of what came of it.
/// Codes, ages and order are those that were exported; originals have other names.
///
/// # Errors
/// [`SnapshotError`]. A folder that was begun is refused by the service until it is emptied and imported to again.
pub async fn import(
    from: impl Read + Send + 'static,
    to: &Target,
) -> Result<(Head, u64, Vec<Damage>), SnapshotError> {
    let (send, mut parts) = mpsc::channel(2);
    let reading = tokio::task::spawn_blocking(move || read(from, &send));
    let Some(Part::Head(head)) = parts.recv().await else {
        reading.await.map_err(|_| SnapshotError::Panicked)??;
        return Err(SnapshotError::Panicked);
    };
    begin(&to.data_dir)?;
    let config = IndexConfig {
        path: to.data_dir.clone(),
        model: Requirement::Exact(head.model.clone()),
        precision: Requirement::Exact(head.precision.clone()),
        lengths: head.lengths.clone(),
        sketch: head.sketch,
        kept: None,
        gallery: None,
        cache_bytes: to.cache_bytes,
    };
    let index = blocking(move || Index::open_restoring(config)).await?;
    let originals = Originals::open(&to.originals, index.id(), false).await?;
    let (gallery, removal) = Gallery::new(index, originals);
    drop(removal);
    while let Some(part) = parts.recv().await {
        if let Part::Images(images) = part {
            gallery.adopt(images).await?;
        }
    }
    reading.await.map_err(|_| SnapshotError::Panicked)??;
    let images = gallery.index().facts().images;
    let damage = complete(gallery, &to.data_dir).await?;
    Ok((head, images, damage))
}

fn wrong(name: &str, why: impl ToString) -> SnapshotError {
    SnapshotError::Export {
        name: name.to_owned(),
        why: why.to_string(),
    }
}

/// Reads an export to its end, and passes it on until nobody takes it.
fn read(from: impl Read, to: &mpsc::Sender<Part>) -> Result<(), SnapshotError> {
    let mut archive = tar::Archive::new(io::BufReader::with_capacity(1 << 20, from));
    let no_export = |error: io::Error| wrong("the archive", error);
    let (mut head, mut images, mut ended) = (None, 0, false);
    let (mut lines, mut group, mut grouped) = (VecDeque::<Line>::new(), Vec::new(), 0);
    for entry in archive.entries().map_err(no_export)? {
        let mut entry = entry.map_err(no_export)?;
        if entry.header().entry_type().is_dir() {
            continue;
        }
        let name = entry.path().map_err(no_export)?;
        let name = name.to_string_lossy().trim_start_matches("./").to_owned();
        let most = match name.ends_with(JSON_LINES) {
            true => MOST_LINES,
            false => MOST_ORIGINAL,
        };
        let bytes = plain(&mut entry, most).map_err(no_export)?;
        let bytes = bytes.map_err(|why| wrong(&name, why))?;
        let sent = match name.as_str() {
            HEAD if head.is_none() => {
                let read: Head = parse(HEAD, &bytes)?;
                if read.format != FORMAT {
                    return Err(SnapshotError::Format {
                        found: read.format,
                        supported: FORMAT,
                    });
                }
                head = Some(read.clone());
                to.blocking_send(Part::Head(read))
            }
            _ if head.is_none() || ended => {
                let why = format!("an export begins with {HEAD} and ends with {END}");
                return Err(wrong(&name, why));
            }
            END if lines.is_empty() => {
                let End { images: all } = parse(END, &bytes)?;
                if all != images {
                    return Err(wrong(END, format!("of {all} images {images} are there")));
                }
                ended = true;
                Ok(())
            }
            _ if lines.is_empty() && name.ends_with(JSON_LINES) => {
                let split = bytes.split(|byte| *byte == b'\n');
                for (at, text) in split.filter(|text| !text.is_empty()).enumerate() {
                    let which = format!("line {} of {name}", at + 1);
                    if at == PAGE || text.len() > MOST_LINE {
                        let why = format!("a file has at most {PAGE} lines of {MOST_LINE} bytes");
                        return Err(wrong(&which, why));
                    }
                    let line: Line = parse(&which, text)?;
                    check_integers(&String::from_utf8_lossy(text))
                        .and_then(|()| check_labels(&line.labels))
                        .and_then(|()| check_payload(line.payload.as_ref()))
                        .map_err(|error| wrong(&which, error))?;
                    lines.push_back(line);
                }
                Ok(())
            }
            _ => {
                let image = whole(lines.pop_front(), &name, bytes)?;
                grouped += image.original.len() as u64;
                group.push(image);
                images += 1;
                match lines.is_empty() || grouped >= FETCHED_BYTES {
                    true => {
                        grouped = 0;
                        to.blocking_send(Part::Images(std::mem::take(&mut group)))
                    }
                    false => Ok(()),
                }
            }
        };
        if sent.is_err() {
            // Storing failed, which is told.
            return Ok(());
        }
    }
    match (head, ended) {
        (None, _) => Err(wrong(HEAD, "it is missing")),
        (_, false) => Err(wrong(END, "it is missing: the export was cut off")),
        _ => Ok(()),
    }
}

/// An image of its line and its original.
fn whole(line: Option<Line>, name: &str, bytes: Vec<u8>) -> Result<ImportedImage, SnapshotError> {
    let Some(line) = line.filter(|line| line.original == name) else {
        return Err(wrong(name, "no image's line names it at this place"));
    };
    let found = sha256(&bytes);
    if found != line.sha256 {
        let why = format!("its SHA-256 is {found}, and should be {}", line.sha256);
        return Err(wrong(name, why));
    }
    let media_type = image::media_type(&bytes).map_err(|error| wrong(name, error))?;
    Ok(ImportedImage {
        id: line.id,
        codes: line.codes.into_values().collect(),
        sketch: line.sketch,
        labels: line.labels,
        payload: line.payload,
        media_type: media_type.to_owned(),
        original: bytes.into(),
        times: Times {
            created_at_ms: line.created_at_ms,
            updated_at_ms: line.updated_at_ms,
        },
    })
}
