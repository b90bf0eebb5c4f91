//! Deletes or changes the images that pass a filter. The filter is also a precondition of each
//! write, so an image that no longer passes when its write is applied is kept.

use std::{collections::BTreeSet, mem, time::Instant};

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::{
    gallery::{LimitError, check_labels, check_payload},
    index::{
        Filter, ImageId, Index, IndexError, ListQuery, Listing, Precondition, Record, merge_patch,
        nfc,
    },
    jobs::{
        context::{Context, PROGRESS_INTERVAL},
        error::JobError,
        options::{ChangeImages, DeleteImages},
        record::{FilteredImages, Progress, Refused, eta_seconds},
    },
};

/// Number of images between two writes of the job's progress.
const PAGE_IMAGES: usize = 1000;
/// Writes at the same time. The index commits them together.
const MAX_CONCURRENT_WRITES: usize = 64;
/// Maximum number of refused images that a job lists.
const MAX_REFUSED_LISTED: usize = 100;

/// Deletes the images that pass a filter.
pub(crate) async fn delete(context: &Context, options: &DeleteImages) -> Result<Value, JobError> {
    let started = Instant::now();
    let DeleteImages { filter, expect } = options;
    let images = run(context, &Action::Delete, filter, *expect).await?;
    Ok(json!({
        "deleted": images.done, "kept": images.kept, "gone": images.gone,
        "seconds": started.elapsed().as_secs_f64(),
    }))
}

/// Changes the images that pass a filter.
pub(crate) async fn change(context: &Context, options: &ChangeImages) -> Result<Value, JobError> {
    let started = Instant::now();
    let action = &Action::Change(options);
    let images = run(context, action, &options.filter, options.expect).await?;
    Ok(json!({
        "changed": images.done, "kept": images.kept, "gone": images.gone,
        "refused_count": images.refused_count, "refused": images.refused,
        "seconds": started.elapsed().as_secs_f64(),
    }))
}

/// What a job does with an image.
enum Action<'a> {
    Delete,
    Change(&'a ChangeImages),
}

/// What became of an image.
enum Outcome {
    Done,
    Kept,
    Gone,
    /// With the reason.
    Refused(String),
}

impl Action<'_> {
    /// The job's stage.
    fn stage(&self) -> &'static str {
        match self {
            Action::Delete => "delete",
            Action::Change(_) => "change",
        }
    }

    /// Does it with an image, if it meets the precondition.
    async fn apply(
        &self,
        index: &Index,
        record: &Record,
        passes: Precondition,
    ) -> Result<Outcome, IndexError> {
        let id = record.id.clone();
        let existed = match self {
            Action::Delete => index.delete(id, passes).await,
            Action::Change(change) => {
                if let Err(reason) = check_change(record, change) {
                    return Ok(Outcome::Refused(reason.to_string()));
                }
                let ChangeImages {
                    labels,
                    add_labels,
                    remove_labels,
                    payload,
                    ..
                } = ChangeImages::clone(change);
                let changed = index.merge(id, labels, add_labels, remove_labels, payload, passes);
                changed.await.map(|record| record.is_some())
            }
        };
        match existed {
            Ok(true) => Ok(Outcome::Done),
            Ok(false) | Err(IndexError::PreconditionFailed { present: None, .. }) => {
                Ok(Outcome::Gone)
            }
            Err(IndexError::PreconditionFailed { .. }) => Ok(Outcome::Kept),
            Err(error) => Err(error),
        }
    }
}

/// Refuses a change after which an image would have too many labels or too large a payload.
fn check_change(image: &Record, change: &ChangeImages) -> Result<(), LimitError> {
    let labels = change.labels.as_ref().unwrap_or(&image.labels);
    let normalised = |label: &String| nfc(label).into_owned();
    let mut labels: BTreeSet<String> = labels.iter().map(normalised).collect();
    for label in &change.remove_labels {
        labels.remove(&*nfc(label));
    }
    labels.extend(change.add_labels.iter().map(normalised));
    check_labels(&Vec::from_iter(labels))?;
    let payload = change.payload.as_ref().map(|patch| {
        let payload = image.payload.clone().unwrap_or_else(|| json!({}));
        merge_patch(payload, patch.clone())
    });
    check_payload(payload.as_ref())
}

impl FilteredImages {
    fn count(&mut self, id: ImageId, outcome: Outcome) {
        match outcome {
            Outcome::Done => self.done += 1,
            Outcome::Kept => self.kept += 1,
            Outcome::Gone => self.gone += 1,
            Outcome::Refused(reason) => {
                self.refused_count += 1;
                if self.refused.len() < MAX_REFUSED_LISTED {
                    self.refused.push(Refused { id, reason });
                }
            }
        }
    }
}

/// Goes through the images that pass, the oldest first. A job that resumes continues with the page
/// that it was at; it no longer finds, and does not count, the images of that page that it had
/// deleted, or changed so that they no longer pass.
async fn run(
    context: &Context,
    action: &Action<'_>,
    filter: &Filter,
    expect: Option<u64>,
) -> Result<FilteredImages, JobError> {
    let passes = &Precondition {
        passes: Some(filter.to_string()),
        ..Precondition::default()
    };
    let mut query = ListQuery {
        filter: Some(filter.clone()),
        limit: PAGE_IMAGES,
        ..ListQuery::default()
    };
    context.wait_for_earlier_writes().await?;
    let mut progress = context.last_progress().await;
    let mut images = match progress.images.take() {
        Some(images) => images,
        None => {
            let found = list(context, &query).await?.total;
            match expect {
                Some(expected) if expected != found => {
                    return Err(JobError::Unexpected { expected, found });
                }
                _ => {}
            }
            progress = Progress {
                stage: action.stage().to_owned(),
                steps: found,
                ..Progress::default()
            };
            let images = FilteredImages::default();
            // From here on, the job that resumes does not count again.
            save(context, &progress, &images).await?;
            images
        }
    };
    let next = images.next.as_deref().map(str::parse).transpose();
    query.after = next.map_err(JobError::from)?;
    let (began, first, mut last_report) = (Instant::now(), progress.step, Instant::now());
    loop {
        let Listing { records, next, .. } = list(context, &query).await?;
        progress.step += records.len() as u64;
        progress.steps = progress.steps.max(progress.step);
        apply_to_all(context, action, records, passes, &mut images).await?;
        let Some(next) = next else {
            return Ok(images);
        };
        images.next = Some(next.to_string());
        query.after = Some(next);
        let left = progress.steps - progress.step;
        progress.eta_seconds = eta_seconds(began.elapsed(), progress.step - first, left);
        if last_report.elapsed() >= PROGRESS_INTERVAL {
            last_report = Instant::now();
            progress.images = Some(images.clone());
            context.progress(&progress, json!({})).await?;
        } else {
            save(context, &progress, &images).await?;
        }
    }
}

async fn list(context: &Context, query: &ListQuery) -> Result<Listing, JobError> {
    let list = || async {
        let (index, query) = (context.gallery().index().clone(), query.clone());
        let listed = tokio::task::spawn_blocking(move || index.list(&query)).await;
        Ok(listed.map_err(|_| JobError::Panicked)??)
    };
    context.retry_while_unavailable(list).await
}

async fn save(
    context: &Context,
    progress: &Progress,
    images: &FilteredImages,
) -> Result<(), JobError> {
    let progress = &Progress {
        images: Some(images.clone()),
        ..progress.clone()
    };
    let save = || context.save_progress(progress);
    context.retry_while_unavailable(save).await
}

/// Does it with each image and counts the outcomes.
async fn apply_to_all(
    context: &Context,
    action: &Action<'_>,
    mut left: Vec<Record>,
    passes: &Precondition,
    images: &mut FilteredImages,
) -> Result<(), JobError> {
    let index = context.gallery().index();
    while !left.is_empty() {
        context.check()?;
        let each = mem::take(&mut left).into_iter().map(|record| async move {
            let outcome = action.apply(index, &record, passes.clone()).await;
            (record, outcome)
        });
        let tried: Vec<_> = stream::iter(each)
            .buffer_unordered(MAX_CONCURRENT_WRITES)
            .collect()
            .await;
        let mut unavailable = None;
        for (record, outcome) in tried {
            match outcome {
                Ok(outcome) => images.count(record.id, outcome),
                Err(error) if error.is_temporary() => {
                    left.push(record);
                    unavailable = Some(error);
                }
                Err(error) => return Err(error.into()),
            }
        }
        if let Some(error) = unavailable {
            context.wait_to_retry(&error.into()).await?;
        }
    }
    Ok(())
}
