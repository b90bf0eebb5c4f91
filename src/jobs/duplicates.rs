//! Finds the groups of copies in the gallery. The groups found last are in a file next to the
//! originals, where every replica can read it.

use std::{
    fs,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{
    sync::{oneshot, watch},
    time::sleep,
};

use crate::{
    index::{Copies, Filter},
    jobs::{
        Task,
        context::{Context, PROGRESS_INTERVAL},
        error::{JobError, failed, write},
        record::{Progress, State, eta_seconds},
        service::{FilteredGroups, Jobs},
    },
    priority::Priority,
};

/// The file's name, next to the originals and in a job's folder.
const FILE: &str = "duplicates";

/// Finds the groups of copies by a model's sketches. Replaces the groups found before.
pub(crate) async fn run(context: &Context, model: &str) -> Result<Value, JobError> {
    let started = Instant::now();
    let (serving, id) = (context.serving(), model.to_owned());
    let find = || async { Ok(serving.find(&id).await?) };
    let entry = context.retry_while_unavailable(find).await?;
    let entry = entry.ok_or_else(|| JobError::NoModel { id: id.clone() })?;
    let threshold = entry
        .card
        .copy()
        .ok_or(JobError::NoThresholds { model: id })?;
    let generations = context.gallery().index().generations();
    let mut generations = [generations.active].into_iter().chain(generations.standby);
    let generation = generations.find(|generation| generation.model == model);
    let generation = generation.ok_or_else(|| JobError::NotServed {
        model: model.to_owned(),
    })?;
    let copies = find_copies(context, generation.number, threshold).await?;
    let folder = context.folder();
    fs::create_dir_all(&folder).map_err(|source| failed(&folder, source))?;
    let file = &folder.join(FILE);
    write(file, &copies.to_bytes()?)?;
    let originals = context.gallery().originals();
    let send = || async move { Ok(originals.send(FILE, file).await?) };
    context.retry_originals(send).await?;
    Ok(json!({
        "model": model, "commit": copies.commit, "images": copies.images, "groups": copies.len(),
        "copies": copies.copies(), "seconds": started.elapsed().as_secs_f64(),
    }))
}

/// Finds the groups on a separate thread, at the lowest priority. The thread stops soon after this
/// future is dropped.
async fn find_copies(
    context: &Context,
    generation: u32,
    threshold: f32,
) -> Result<Copies, JobError> {
    let index = context.gallery().index().clone();
    let (steps_done, last_step) = watch::channel((0, 0));
    let (answer, mut answered) = oneshot::channel();
    let find = move || {
        Priority::Job.apply();
        let mut on_progress = |step, steps| {
            steps_done.send_replace((step, steps));
            !answer.is_closed()
        };
        let found = index.find_copies(generation, threshold, &mut on_progress);
        let _ = answer.send(found);
    };
    let thread = thread::Builder::new().name("duplicates".to_owned());
    let thread = thread.spawn(find);
    thread.map_err(|source| JobError::Thread { source })?;
    let began = Instant::now();
    loop {
        tokio::select! {
            found = &mut answered => {
                let found = found.map_err(|_| JobError::Panicked)??;
                return found.ok_or(JobError::Cancelled);
            }
            stopped = context.stopped() => return Err(stopped),
            () = sleep(PROGRESS_INTERVAL) => {
                let (step, steps) = *last_step.borrow();
                context.progress(&progress(step, steps, began.elapsed()), json!({})).await?;
            }
        }
    }
}

fn progress(step: u64, steps: u64, elapsed: Duration) -> Progress {
    Progress {
        stage: "compare".to_owned(),
        step,
        steps,
        eta_seconds: eta_seconds(elapsed, step, steps.saturating_sub(step)),
        ..Progress::default()
    }
}

impl Jobs {
    /// Returns the groups of copies that any service found last. Returns none if no job has found
    /// groups yet or their file is damaged.
    ///
    /// # Errors
    /// [`JobError::Store`]; [`JobError::Gallery`] if the file cannot be read.
    pub async fn duplicates(&self) -> Result<Option<Arc<Copies>>, JobError> {
        let newest = self.0.store.newest(|job| {
            job.state == State::Succeeded && matches!(job.task, Task::FindDuplicates { .. })
        })?;
        let newest = newest.map(|job| job.id);
        let mut cached = self.0.duplicates.lock().await;
        if let Some((of, copies)) = &*cached
            && *of == newest
        {
            return Ok(copies.clone());
        }
        // The file is written before its job ends, so it is from that job or a later one.
        let bytes = self.0.gallery.originals().load(FILE).await?;
        let read = bytes.map(|bytes| Copies::from_bytes(&bytes)).transpose();
        let copies = read.unwrap_or_else(|error| {
            tracing::error!(%error, "the groups of copies are damaged; find them again with a find_duplicates job");
            None
        });
        let copies = copies.map(Arc::new);
        *cached = Some((newest, copies.clone()));
        Ok(copies)
    }

    /// Returns the groups of copies among the images that pass a filter. Keeps those of the last
    /// filter, because finding them can take seconds and callers read one page after the other. One
    /// caller at a time finds groups.
    ///
    /// # Errors
    /// [`JobError::Gallery`] if the filter or the generation of the groups cannot be used.
    pub async fn duplicates_among(
        &self,
        all: &Arc<Copies>,
        filter: &Filter,
    ) -> Result<Arc<Copies>, JobError> {
        let index = self.0.gallery.index().clone();
        let mut kept = self.0.filtered_duplicates.lock().await;
        let commit = index.commit();
        if let Some(kept) = &*kept
            && Arc::ptr_eq(&kept.all, all)
            && (kept.commit, &kept.filter) == (commit, filter)
        {
            return Ok(kept.among.clone());
        }
        let (copies, wanted) = (all.clone(), filter.clone());
        let among = move || index.copies_among(&copies, &wanted);
        let among = tokio::task::spawn_blocking(among).await;
        let among = Arc::new(among.map_err(|_| JobError::Panicked)??);
        *kept = Some(FilteredGroups {
            all: all.clone(),
            commit,
            filter: filter.clone(),
            among: among.clone(),
        });
        Ok(among)
    }
}
