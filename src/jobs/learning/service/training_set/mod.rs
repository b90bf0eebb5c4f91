//! The training set of a job: images chosen from the gallery or an archive, copied into the job's
//! folder with a list of them.
//!
//! - `chosen`: an image to learn from
//! - `sample`: random samples

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
    index::{Filter, Index, ListQuery, Record},
    jobs::{
        context::{Context, PROGRESS_INTERVAL},
        error::{JobError, failed, write},
        learning::{
            protocol::{IMAGES, MANIFEST},
            service::archive::ARCHIVE,
        },
        options::{Adapt, FineTune, share_of},
        record::Progress,
    },
    system::disk,
    train::data::Item,
};

use chosen::{ChosenImage, GalleryImage, Source, choose_from_archive};
use sample::Sample;

/// The skipped images, for a job that resumes.
const SKIPPED: &str = "skipped.json";
/// The packed training set, for another worker.
const SET_ARCHIVE: &str = "set.tar";
/// Number of records read at a time.
const PAGE_RECORDS: usize = 1000;
/// Bytes that training writes for each byte of the parent model: weights, averages and moments as
/// floats, and the new model.
const TRAINING_BYTES_PER_MODEL_BYTE: u64 = 10;
/// The side in pixels at which an image is decoded to check that it is readable.
const PROBE_SIDE: u32 = 32;

/// Prepares the training set in a job's folder, unless it exists already. Returns the skipped
/// images with the reasons. Polls `chosen` only if the set does not exist. `archive` is true if
/// `chosen` reads the uploaded archive.
pub(crate) async fn prepare(
    context: &Context,
    archive: bool,
    chosen: impl Future<Output = Result<Vec<ChosenImage>, JobError>>,
    model_bytes: u64,
) -> Result<Vec<Value>, JobError> {
    let folder = context.folder();
    if folder.join(MANIFEST).exists() || context.take_over(SET_ARCHIVE).await? {
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
    // The packed set for other workers needs as much space again.
    let copies = if context.store().is_shared() { 2 } else { 1 };
    disk::check_free_space(
        &folder,
        copies * bytes.sum::<u64>() + TRAINING_BYTES_PER_MODEL_BYTE * model_bytes,
    )?;
    let skipped = copy_images(context, &folder, chosen).await?;
    context
        .hand_over(SET_ARCHIVE, &[IMAGES, MANIFEST, SKIPPED])
        .await?;
    let _ = fs::remove_file(folder.join(ARCHIVE));
    Ok(skipped)
}

/// Chooses images of the gallery at random, with all their labels.
pub(crate) async fn choose_unlabelled(
    context: &Context,
    options: &Adapt,
) -> Result<Vec<ChosenImage>, JobError> {
    let index = context.gallery().index().clone();
    let options = options.clone();
    let choose = move || {
        let mut chosen = Sample::new(options.images, options.seed);
        for_each_record(&index, options.filter.as_ref(), |record| {
            chosen.offer(ChosenImage {
                labels: record.labels.clone(),
                source: Source::gallery(record),
            });
        })?;
        Ok(chosen.taken)
    };
    let chosen = tokio::task::spawn_blocking(choose).await;
    chosen.map_err(|_| JobError::Panicked)?
}

/// Chooses the images to fine-tune on, with those of their labels that are classes: the wanted
/// ones, and a random sample of other images of known classes to replay.
pub(crate) async fn choose_labelled(
    context: &Context,
    options: &FineTune,
    known: BTreeSet<String>,
) -> Result<Vec<ChosenImage>, JobError> {
    let index = context.gallery().index().clone();
    let (options, archive) = (options.clone(), context.folder().join(ARCHIVE));
    let choose = move || {
        let (mut chosen, left_out) = match options.archive {
            Some(_) => choose_from_archive(&archive, &options.labels)?,
            None => Default::default(),
        };
        let from_gallery = options.archive.is_none();
        let all = from_gallery && options.labels.is_empty();
        let wanted: BTreeSet<String> = if from_gallery {
            options.labels.iter().cloned().collect()
        } else {
            chosen.iter().flat_map(|one| one.labels.clone()).collect()
        };
        let only: BTreeSet<_> = options.images.iter().collect();
        let counts = |label: &&String| all || wanted.contains(*label) || known.contains(*label);
        let class_labels = |record: &Record| -> (Vec<String>, bool) {
            let labels: Vec<String> = record.labels.iter().filter(counts).cloned().collect();
            let is_wanted = from_gallery
                && !labels.is_empty()
                && (all || labels.iter().any(|label| wanted.contains(label)));
            (labels, is_wanted)
        };
        let filter = options.filter.as_ref();
        for_each_record(&index, filter, |record| {
            let (labels, is_wanted) = class_labels(&record);
            if is_wanted && (only.is_empty() || only.contains(&record.id)) {
                let source = Source::gallery(record);
                chosen.push(ChosenImage { source, labels });
            }
        })?;
        if chosen.is_empty() {
            return Err(JobError::NoImages {
                is_filtered: filter.is_some(),
                labels: options.labels,
            });
        }
        // This takes a second pass, because the number of images to replay is known only now.
        let replayed = share_of(chosen.len(), options.replay);
        let mut replay = Sample::new(replayed, options.seed);
        for_each_record(&index, filter, |record| {
            let (labels, is_wanted) = class_labels(&record);
            if !is_wanted && !labels.is_empty() {
                let source = Source::gallery(record);
                replay.offer(ChosenImage { source, labels });
            }
        })?;
        chosen.extend(replay.taken);
        check_classes(&chosen)?;
        chosen.extend(left_out);
        Ok(chosen)
    };
    let chosen = tokio::task::spawn_blocking(choose).await;
    chosen.map_err(|_| JobError::Panicked)?
}

/// Calls a function with the record of each image of a gallery that passes the filter.
fn for_each_record(
    index: &Index,
    filter: Option<&Filter>,
    mut with: impl FnMut(Record),
) -> Result<(), JobError> {
    let mut query = ListQuery {
        filter: filter.cloned(),
        limit: PAGE_RECORDS,
        ..ListQuery::default()
    };
    loop {
        let page = index.list(&query)?;
        page.records.into_iter().for_each(&mut with);
        query.after = page.next;
        if query.after.is_none() {
            return Ok(());
        }
    }
}

/// Refuses images of fewer than two classes. Also refuses images if no class has two, because none
/// could be held out.
fn check_classes(chosen: &[ChosenImage]) -> Result<(), JobError> {
    let classes: BTreeSet<&String> = chosen.iter().flat_map(|one| &one.labels).collect();
    if let (Some(only), 1) = (classes.first(), classes.len()) {
        return Err(JobError::OneClass {
            class: (*only).clone(),
        });
    }
    let mut seen = BTreeSet::new();
    if chosen
        .iter()
        .all(|one| seen.insert(one.labels.iter().min()))
    {
        Err(JobError::TooFew)
    } else {
        Ok(())
    }
}

/// Copies the originals into the folder, because they must not change while a job learns from them.
/// Then writes their list. Returns the unreadable originals with the reasons.
async fn copy_images(
    context: &Context,
    folder: &Path,
    chosen: Vec<ChosenImage>,
) -> Result<Vec<Value>, JobError> {
    let (mut lines, mut skipped, steps) = (String::new(), Vec::new(), chosen.len() as u64);
    let mut last_report = Instant::now();
    for (number, ChosenImage { source, labels }) in chosen.into_iter().enumerate() {
        context.check()?;
        let name = match &source {
            Source::Gallery(image) => json!({ "id": image.id }),
            Source::Archive(Item { name, .. }) | Source::Unusable(name, _) => {
                json!({ "file": name })
            }
        };
        let bytes = match source {
            Source::Gallery(GalleryImage {
                id,
                original,
                bytes,
            }) => context.original(&id, original, bytes).await?,
            Source::Archive(item) => {
                let read = tokio::task::spawn_blocking(move || item.bytes()).await;
                let read = read.map_err(|_| JobError::Panicked)?;
                read.map_err(|error| error.to_string())
            }
            Source::Unusable(_, reason) => Err(reason),
        };
        let picture = match bytes {
            Ok(bytes) => check_readable(bytes).await?,
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
        if last_report.elapsed() >= PROGRESS_INTERVAL {
            last_report = Instant::now();
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

/// Decodes an image at a small size. Returns its bytes, or the reason why it is unreadable.
async fn check_readable(bytes: Bytes) -> Result<Result<Bytes, String>, JobError> {
    let decode = move || match image::decode(&bytes, Input::stretched(PROBE_SIDE)) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(error.to_string()),
    };
    let decoded = tokio::task::spawn_blocking(decode).await;
    decoded.map_err(|_| JobError::Panicked)
}
