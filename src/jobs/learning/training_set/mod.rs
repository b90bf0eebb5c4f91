//! What a fine-tuning job learns from: chosen images of the gallery or of an archive, with old ones replayed, as files and a list of them.
//! Knows galleries, archives and labels; nothing of networks.

mod chosen;
mod sample;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use bytes::Bytes;
use serde_json::{Value, json};

use crate::{
    image::{self, Input},
    index::{Index, Record},
    jobs::{
        context::{Context, TOLD},
        error::{JobError, failed, write},
        learning::archive::ARCHIVE,
        options::{Adapt, FineTune},
        record::Progress,
    },
    system::disk,
    train::data::Item,
};

use chosen::{From, OriginalKey, of_archive};
use sample::Sample;

pub(crate) use chosen::Chosen;

/// Where the images are, and the list of them, which comes last.
pub(crate) const IMAGES: &str = "images";
pub(crate) const MANIFEST: &str = "images.jsonl";
/// Which were left out, for a job that goes on.
const SKIPPED: &str = "skipped.json";
/// All of them, for another worker.
const SET: &str = "set.tar";
/// Records that are read at a time.
const PAGE: usize = 1000;
/// What training writes for each byte of the model that it goes on from: weights, averages and moments, in floats, and the new model.
const STATE: u64 = 10;
/// Pixels a side that a picture is read at to see whether it can be.
const LEAST_SIDE: u32 = 32;

/// Makes the list and the files in a job's folder, if they are not there, and tells which images were left out, and why.
/// `chosen` is asked for only if they are not there; `archive` says whether it reads the archive that came with the request.
pub(crate) async fn make(
    context: &Context,
    archive: bool,
    chosen: impl Future<Output = Result<Vec<Chosen>, JobError>>,
    model_bytes: u64,
) -> Result<Vec<Value>, JobError> {
    let folder = context.folder();
    if folder.join(MANIFEST).exists() || context.take_over(SET).await? {
        let skipped = fs::read(folder.join(SKIPPED)).unwrap_or_default();
        return Ok(serde_json::from_slice(&skipped).unwrap_or_default());
    }
    if archive && !folder.join(ARCHIVE).exists() {
        context.take_over(ARCHIVE).await?;
    }
    let chosen = chosen.await?;
    let images = folder.join(IMAGES);
    fs::create_dir_all(&images).map_err(|source| failed(&images, source))?;
    let bytes = chosen.iter().map(|one| one.bytes().next_multiple_of(4096));
    // Packed for other workers they are there once more.
    let copies = if context.store().is_shared() { 2 } else { 1 };
    disk::room(&folder, copies * bytes.sum::<u64>() + STATE * model_bytes)?;
    let skipped = export(context, &folder, chosen).await?;
    context.hand_over(SET, &[IMAGES, MANIFEST, SKIPPED]).await?;
    let _ = fs::remove_file(folder.join(ARCHIVE));
    Ok(skipped)
}

/// Images of the gallery with originals, drawn at random, and the labels that they have.
pub(crate) async fn unlabelled(
    context: &Context,
    options: &Adapt,
) -> Result<Vec<Chosen>, JobError> {
    let index = context.gallery().index().clone();
    let options = options.clone();
    let choose = move || {
        let mut chosen = Sample::new(options.images, options.seed);
        each(&index, |record| {
            chosen.offer(Chosen {
                labels: record.labels.to_vec(),
                from: From::gallery(record),
            });
        })?;
        Ok(chosen.taken)
    };
    let chosen = tokio::task::spawn_blocking(choose).await;
    chosen.map_err(|_| JobError::Panicked)?
}

/// The images to learn from, with the labels that count.
pub(crate) async fn labelled(
    context: &Context,
    options: &FineTune,
    known: BTreeSet<String>,
) -> Result<Vec<Chosen>, JobError> {
    let index = context.gallery().index().clone();
    let (options, archive) = (options.clone(), context.folder().join(ARCHIVE));
    let choose = move || {
        let (mut chosen, left_out) = match options.archive {
            Some(_) => of_archive(&archive, &options.labels)?,
            None => Default::default(),
        };
        let from_gallery = options.archive.is_none();
        let all = from_gallery && options.labels.is_empty();
        let wanted: BTreeSet<String> = match from_gallery {
            true => options.labels.iter().cloned().collect(),
            false => chosen.iter().flat_map(|one| one.labels.clone()).collect(),
        };
        let only: BTreeSet<_> = options.images.iter().collect();
        let counts = |label: &&String| all || wanted.contains(*label) || known.contains(*label);
        let counted = |record: &Record| -> (Vec<String>, bool) {
            let labels: Vec<String> = record.labels.iter().filter(counts).cloned().collect();
            let is_one = from_gallery
                && !labels.is_empty()
                && (all || labels.iter().any(|label| wanted.contains(label)));
            (labels, is_one)
        };
        each(&index, |record| {
            let (labels, is_one) = counted(&record);
            if is_one && (only.is_empty() || only.contains(&record.id)) {
                let from = From::gallery(record);
                chosen.push(Chosen { from, labels });
            }
        })?;
        if chosen.is_empty() {
            return Err(JobError::NoImages {
                labels: options.labels,
            });
        }
        // How many are replayed is known only now, so the gallery is gone through once more.
        let most = (chosen.len() as f64 * options.replay).round() as usize;
        let mut replay = Sample::new(most, options.seed);
        each(&index, |record| {
            let (labels, is_one) = counted(&record);
            if !is_one && !labels.is_empty() {
                let from = From::gallery(record);
                replay.offer(Chosen { from, labels });
            }
        })?;
        chosen.extend(replay.taken);
        enough(&chosen)?;
        chosen.extend(left_out);
        Ok(chosen)
    };
    let chosen = tokio::task::spawn_blocking(choose).await;
    chosen.map_err(|_| JobError::Panicked)?
}

/// Goes through all images of a gallery.
fn each(index: &Index, mut with: impl FnMut(Record)) -> Result<(), JobError> {
    let mut from = None;
    loop {
        let page = index.list(&[], from, PAGE)?;
        page.records.into_iter().for_each(&mut with);
        from = page.next;
        if from.is_none() {
            return Ok(());
        }
    }
}

/// Refuses what nothing can be learned from: two classes are needed, and of one of them an image to compare the models by.
fn enough(chosen: &[Chosen]) -> Result<(), JobError> {
    let classes: BTreeSet<&String> = chosen.iter().flat_map(|one| &one.labels).collect();
    if let (Some(only), 1) = (classes.first(), classes.len()) {
        return Err(JobError::OneClass {
            class: (*only).clone(),
        });
    }
    let mut seen = BTreeSet::new();
    match chosen
        .iter()
        .all(|one| seen.insert(one.labels.iter().min()))
    {
        true => Err(JobError::TooFew),
        false => Ok(()),
    }
}

/// Puts copies of the originals into the folder, since what a job learns from must not change under it, and then their list. Those that
/// cannot be read are told of.
async fn export(
    context: &Context,
    folder: &Path,
    chosen: Vec<Chosen>,
) -> Result<Vec<Value>, JobError> {
    let (mut lines, mut skipped, steps) = (String::new(), Vec::new(), chosen.len() as u64);
    let mut told = Instant::now();
    for (number, Chosen { from, labels }) in chosen.into_iter().enumerate() {
        context.check()?;
        let name = match &from {
            From::Gallery(original) => json!({ "id": original.id }),
            From::Archive(Item { name, .. }) | From::Uncoded(name, _) => json!({ "file": name }),
        };
        let bytes = match from {
            From::Gallery(OriginalKey { id, name, bytes }) => {
                context.original(&id, name, bytes).await?
            }
            From::Archive(item) => {
                let read = tokio::task::spawn_blocking(move || item.bytes()).await;
                let read = read.map_err(|_| JobError::Panicked)?;
                read.map_err(|error| error.to_string())
            }
            From::Uncoded(_, reason) => Err(reason),
        };
        let picture = match bytes {
            Ok(bytes) => readable(bytes).await?,
            Err(reason) => Err(reason),
        };
        match picture {
            Ok(bytes) => {
                let path = PathBuf::from(IMAGES).join(number.to_string());
                let written = tokio::fs::write(folder.join(&path), bytes).await;
                written.map_err(|source| failed(&folder.join(&path), source))?;
                lines += &json!({ "path": path, "labels": labels }).to_string();
                lines.push('\n');
            }
            Err(reason) => {
                let mut image = name;
                image["reason"] = reason.into();
                skipped.push(image);
            }
        }
        if told.elapsed() >= TOLD {
            told = Instant::now();
            let progress = Progress {
                stage: "export".to_owned(),
                step: number as u64 + 1,
                steps,
                ..Progress::default()
            };
            context.progress(&progress, json!({})).await?;
        }
    }
    let text = json!(skipped).to_string();
    write(&folder.join(SKIPPED), text.as_bytes())?;
    write(&folder.join(MANIFEST), lines.as_bytes())?;
    Ok(skipped)
}

/// Bytes that are a picture, or why they are none.
async fn readable(bytes: Bytes) -> Result<Result<Bytes, String>, JobError> {
    let decode = move || match image::decode(&bytes, Input::stretched(LEAST_SIDE)) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(error.to_string()),
    };
    let decoded = tokio::task::spawn_blocking(decode).await;
    decoded.map_err(|_| JobError::Panicked)
}
