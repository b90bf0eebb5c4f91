//! Imports an export to a new data folder. Checks each original against its digest. A service
//! accepts the folder only after the whole export was read.

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
        export::{END, End, ExportedField, FORMAT, GROUP_SIZE, HEAD, Head, Line, parse, sha256},
        file::blocking,
        originals::{BATCH_BYTES, MAX_ORIGINAL_BYTES, read_plain},
        restore::{begin_restore, finish_restore},
    },
};

const JSONL_EXTENSION: &str = ".jsonl";
const MAX_JSONL_BYTES: u64 = 64 << 20;
const MAX_LINE_BYTES: usize = 256 << 10;

enum Part {
    Head(Head),
    Images(Vec<ImportedImage>),
}

/// Fills a data folder from an export. Returns the export's head, the number of images, and damage
/// of the new folder. Keeps the codes, times, order and fields of the export. The original keys are
/// new.
///
/// # Errors
/// [`SnapshotError`]. The service then refuses the folder until it is emptied and the import is
/// repeated.
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
    begin_restore(&to.data_dir)?;
    let config = IndexConfig {
        path: to.data_dir.clone(),
        model: Requirement::Exact(head.model.clone()),
        precision: Requirement::Exact(head.precision.clone()),
        lengths: head.lengths.clone(),
        sketch: head.sketch,
        sketch_storage: None,
        gallery: None,
        cache_bytes: to.cache_bytes,
    };
    let index = blocking(move || Index::open_restoring(config)).await?;
    for ExportedField { field, kind } in head.fields.clone() {
        // There are no images yet, so it is built at once, and each image brings its values.
        index.declare(field, kind).await?;
    }
    let originals = Originals::open(&to.originals, index.id(), false).await?;
    let (gallery, _) = Gallery::new(index, originals);
    while let Some(part) = parts.recv().await {
        if let Part::Images(images) = part {
            gallery.import(images).await?;
        }
    }
    reading.await.map_err(|_| SnapshotError::Panicked)??;
    let images = gallery.index().stats().images;
    let damage = finish_restore(gallery, &to.data_dir).await?;
    Ok((head, images, damage))
}

fn invalid(name: &str, why: impl ToString) -> SnapshotError {
    SnapshotError::Export {
        name: name.to_owned(),
        why: why.to_string(),
    }
}

/// Reads an export to its end and sends its parts. Stops if the receiver is gone.
fn read(from: impl Read, to: &mpsc::Sender<Part>) -> Result<(), SnapshotError> {
    let mut archive = tar::Archive::new(io::BufReader::with_capacity(1 << 20, from));
    let unreadable = |error: io::Error| invalid("the archive", error);
    let (mut head, mut images, mut ended) = (None, 0, false);
    let (mut lines, mut group, mut grouped) = (VecDeque::<Line>::new(), Vec::new(), 0);
    for entry in archive.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        if entry.header().entry_type().is_dir() {
            continue;
        }
        let name = entry.path().map_err(unreadable)?;
        let name = name.to_string_lossy().trim_start_matches("./").to_owned();
        let max_bytes = if name.ends_with(JSONL_EXTENSION) {
            MAX_JSONL_BYTES
        } else {
            MAX_ORIGINAL_BYTES
        };
        let bytes = read_plain(&mut entry, max_bytes).map_err(unreadable)?;
        let bytes = bytes.map_err(|why| invalid(&name, why))?;
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
                return Err(invalid(&name, why));
            }
            END if lines.is_empty() => {
                let End { images: all } = parse(END, &bytes)?;
                if all != images {
                    let why = format!("it names {all} images, but the export has {images}");
                    return Err(invalid(END, why));
                }
                ended = true;
                Ok(())
            }
            _ if lines.is_empty() && name.ends_with(JSONL_EXTENSION) => {
                let split = bytes.split(|byte| *byte == b'\n');
                for (at, text) in split.filter(|text| !text.is_empty()).enumerate() {
                    let which = format!("line {} of {name}", at + 1);
                    if at == GROUP_SIZE || text.len() > MAX_LINE_BYTES {
                        let why = format!(
                            "a file has at most {GROUP_SIZE} lines of at most {MAX_LINE_BYTES} bytes"
                        );
                        return Err(invalid(&which, why));
                    }
                    let line: Line = parse(&which, text)?;
                    check_integers(&String::from_utf8_lossy(text))
                        .and_then(|()| check_labels(&line.labels))
                        .and_then(|()| check_payload(line.payload.as_ref()))
                        .map_err(|error| invalid(&which, error))?;
                    lines.push_back(line);
                }
                Ok(())
            }
            _ => {
                let image = join_image(lines.pop_front(), &name, bytes)?;
                grouped += image.original.len() as u64;
                group.push(image);
                images += 1;
                if lines.is_empty() || grouped >= BATCH_BYTES {
                    grouped = 0;
                    to.blocking_send(Part::Images(std::mem::take(&mut group)))
                } else {
                    Ok(())
                }
            }
        };
        if sent.is_err() {
            // Storing failed. The receiver reports that error.
            return Ok(());
        }
    }
    match (head, ended) {
        (None, _) => Err(invalid(HEAD, "it is missing")),
        (_, false) => Err(invalid(END, "it is missing: the export was cut off")),
        _ => Ok(()),
    }
}

/// Joins a line with its original, after checking its digest.
fn join_image(
    line: Option<Line>,
    name: &str,
    bytes: Vec<u8>,
) -> Result<ImportedImage, SnapshotError> {
    let Some(line) = line.filter(|line| line.original == name) else {
        return Err(invalid(name, "no line names it at this position"));
    };
    let found = sha256(&bytes);
    if found != line.sha256 {
        let why = format!("its SHA-256 is {found}; expected {}", line.sha256);
        return Err(invalid(name, why));
    }
    let media_type = image::media_type(&bytes).map_err(|error| invalid(name, error))?;
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
