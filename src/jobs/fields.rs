//! Builds a declared field: reads its values of all images, some row pages in each write, while the
//! service answers.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    gallery::GalleryError,
    index::{FieldPath, IndexError},
    jobs::{
        context::{Context, PROGRESS_INTERVAL},
        error::JobError,
        record::{Progress, eta_seconds},
        service::Jobs,
    },
};

/// Row pages in one write, which takes some milliseconds. Other writes wait for it. With four times
/// as many pages, the p99 of searches on two busy cores rose from 2 to 15 ms.
const PAGES_PER_WRITE: u32 = 16;

/// Builds a field, or the rest of it if the job resumes. Images that are stored or changed
/// meanwhile need nothing: their own writes hold their values.
pub(crate) async fn run(
    context: &Context,
    field: &FieldPath,
    number: u32,
) -> Result<Value, JobError> {
    let (started, index) = (Instant::now(), context.gallery().index());
    let deleted = |error| match error {
        JobError::Gallery(GalleryError::Index(IndexError::NoSuchField { .. })) => {
            JobError::FieldDeleted {
                field: field.clone(),
            }
        }
        error => error,
    };
    // A write is repeated without harm, so the last progress need not be exact.
    let first = context.last_progress().await.step;
    let first = u32::try_from(first).unwrap_or(0);
    let (mut next, mut pages, mut last_report) = (first, None, Instant::now());
    loop {
        context.check()?;
        let end = next.saturating_add(PAGES_PER_WRITE);
        let build = || async move { Ok(index.build_field(number, next..end).await?) };
        let built = context.retry_while_unavailable(build).await;
        built.map_err(deleted)?;
        next = end;
        // Counted after the first write: a replica may not have applied the declaration, and the
        // images before it, until then.
        let pages = match pages {
            Some(pages) => pages,
            None => *pages.insert(index.pages()?),
        };
        if next >= pages {
            break;
        }
        if last_report.elapsed() >= PROGRESS_INTERVAL {
            last_report = Instant::now();
            let progress = progress(first, next, pages, started.elapsed());
            context.progress(&progress, json!({})).await?;
        }
    }
    let finish = || async move { Ok(index.finish_field(number).await?) };
    let finished = context.retry_while_unavailable(finish).await;
    finished.map_err(deleted)?;
    Ok(json!({
        "field": field, "images": index.stats().images, "seconds": started.elapsed().as_secs_f64(),
    }))
}

/// The progress after the pages from `first` to `next` were built in `elapsed`.
fn progress(first: u32, next: u32, pages: u32, elapsed: Duration) -> Progress {
    let left = u64::from(pages.saturating_sub(next));
    Progress {
        stage: "build".to_owned(),
        step: next.into(),
        steps: pages.into(),
        eta_seconds: eta_seconds(elapsed, (next - first).into(), left),
        ..Progress::default()
    }
}

impl Jobs {
    /// Creates jobs for the fields that are declared but not built, and that no unfinished job
    /// builds: their service was stopped before it created the job, or the job failed.
    ///
    /// # Errors
    /// [`JobError::Store`].
    pub async fn build_fields(&self) -> Result<(), JobError> {
        for status in self.0.gallery.index().fields() {
            if !status.field.built {
                self.build_field(&status.field).await?;
            }
        }
        Ok(())
    }
}
