//! Finding the groups of copies in the gallery, and the one file that has those found last, beside the originals, where every replica finds it.
//! Knows threads and the file's name; neither how copies are found nor how groups are shown.

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
    index::Copies,
    jobs::{
        Task,
        context::{Context, TOLD},
        error::{JobError, failed, write},
        record::{Progress, State},
        service::Jobs,
    },
    priority::Rank,
};

/// The file's name, beside the originals and in a job's folder.
const FILE: &str = "duplicates";

/// Finds the groups of copies by a model's sketches and puts them in the place of those found before.
pub(crate) async fn run(context: &Context, model: &str) -> Result<Value, JobError> {
    let started = Instant::now();
    let (serving, id) = (context.serving(), model.to_owned());
    let find = || async { Ok(serving.find(&id).await?) };
    let entry = context.retry_while_unavailable(find).await?;
    let entry = entry.ok_or_else(|| JobError::NoModel { id: id.clone() })?;
    let least = entry
        .card
        .copy()
        .ok_or(JobError::NoThresholds { model: id })?;
    let generations = context.gallery().index().generations();
    let mut sides = [generations.active].into_iter().chain(generations.standby);
    let side = sides.find(|side| side.model == model);
    let side = side.ok_or_else(|| JobError::NotServed {
        model: model.to_owned(),
    })?;
    let copies = find_copies(context, side.number, least).await?;
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

/// Has a thread of its own find them, which everything that answers goes before. It stops soon after nobody waits for it any more.
async fn find_copies(context: &Context, generation: u32, least: f32) -> Result<Copies, JobError> {
    let index = context.gallery().index().clone();
    let (done, far) = watch::channel((0, 0));
    let (answer, mut answered) = oneshot::channel();
    let find = move || {
        Rank::Job.take();
        let mut go_on = |images, all| {
            done.send_replace((images, all));
            !answer.is_closed()
        };
        let found = index.find_copies(generation, least, &mut go_on);
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
            () = sleep(TOLD) => {
                let (step, steps) = *far.borrow();
                context.progress(&progress(step, steps, began.elapsed()), json!({})).await?;
            }
        }
    }
}

fn progress(step: u64, steps: u64, elapsed: Duration) -> Progress {
    let left = elapsed.as_secs_f64() / step as f64 * steps.saturating_sub(step) as f64;
    Progress {
        stage: "compare".to_owned(),
        step,
        steps,
        eta_seconds: (step > 0).then(|| left.ceil() as u64),
        ..Progress::default()
    }
}

impl Jobs {
    /// The groups of copies that were found last, by whichever service; none where none were, or where their file is damaged.
    ///
    /// # Errors
    /// [`JobError::Store`], [`JobError::Gallery`] where the place of originals fails.
    pub async fn duplicates(&self) -> Result<Option<Arc<Copies>>, JobError> {
        let newest = self.0.store.newest(|job| {
            job.state == State::Succeeded && matches!(job.task, Task::FindDuplicates { .. })
        })?;
        let newest = newest.map(|job| job.id);
        let mut known = self.0.duplicates.lock().await;
        if let Some((of, copies)) = &*known
            && *of == newest
        {
            return Ok(copies.clone());
        }
        // The file is there before its job is over, so it is that job's or a later one's.
        let bytes = self.0.gallery.originals().load(FILE).await?;
        let read = bytes.map(|bytes| Copies::from_bytes(&bytes)).transpose();
        let copies = read.unwrap_or_else(|error| {
            tracing::error!(%error, "groups of copies are not known until they are found anew");
            None
        });
        let copies = copies.map(Arc::new);
        *known = Some((newest, copies.clone()));
        Ok(copies)
    }
}
