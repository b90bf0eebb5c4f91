//! A job as it is stored and shown: its task, state, progress and result. Plain data.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    index::{FieldPath, Filter, ImageId},
    jobs::options::{Adapt, ChangeImages, DeleteImages, FineTune},
};

/// The task of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Task {
    /// Train a model on labelled images.
    FineTune(Box<FineTune>),
    /// Train a model on images of the gallery without labels.
    Adapt(Adapt),
    /// Encode every original with a model, then activate it.
    Reencode {
        /// The model's id.
        model: String,
    },
    /// Find the groups of copies in the gallery.
    FindDuplicates {
        /// The id of the model whose sketches are compared: the active one when the job was
        /// created.
        model: String,
    },
    /// Read a declared field's values of all images, so that filters can use it.
    BuildField {
        /// The path of the field.
        field: FieldPath,
        /// The number of the field.
        number: u32,
    },
    /// Delete the images that pass a filter.
    DeleteImages(DeleteImages),
    /// Change the images that pass a filter.
    ChangeImages(Box<ChangeImages>),
}

impl Task {
    /// The name of its kind, as in JSON.
    pub fn kind(&self) -> &'static str {
        match self {
            Task::FineTune(_) => "fine_tune",
            Task::Adapt(_) => "adapt",
            Task::Reencode { .. } => "reencode",
            Task::FindDuplicates { .. } => "find_duplicates",
            Task::BuildField { .. } => "build_field",
            Task::DeleteImages(_) => "delete_images",
            Task::ChangeImages(_) => "change_images",
        }
    }

    /// The filter of the images that it uses, if it has one.
    pub fn filter(&self) -> Option<&Filter> {
        match self {
            Task::FineTune(options) => options.filter.as_ref(),
            Task::Adapt(options) => options.filter.as_ref(),
            Task::DeleteImages(options) => Some(&options.filter),
            Task::ChangeImages(options) => Some(&options.filter),
            Task::Reencode { .. } | Task::FindDuplicates { .. } | Task::BuildField { .. } => None,
        }
    }
}

/// Number of unfinished jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct UnfinishedJobs {
    pub queued: usize,
    pub running: usize,
}

/// The state of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Queued,
    /// It runs; after a crash it resumes.
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

impl State {
    /// Its name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            State::Queued => "queued",
            State::Running => "running",
            State::Succeeded => "succeeded",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
        }
    }

    /// Returns true if the job has ended.
    pub fn is_over(self) -> bool {
        !matches!(self, State::Queued | State::Running)
    }
}

/// The progress of a job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// `export`, `measure`, `features`, `warm-up`, `joint`, `encode`, `compare`, `build`, `delete`
    /// or `change`.
    pub stage: String,
    /// The epoch, from 1; 0 outside of training.
    pub epoch: u64,
    pub epochs: u64,
    /// The number of steps done. A step is a row page in the stage `build`, and an image in the
    /// stages `export`, `encode`, `compare`, `delete` and `change`.
    pub step: u64,
    pub steps: u64,
    /// Seconds until the stage is done, at the pace so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<u64>,
    /// The images done so far, in the stages `delete` and `change`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<FilteredImages>,
}

/// The images that a job by filter has done. A job that resumes continues from here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FilteredImages {
    /// The number of images deleted or changed.
    pub done: u64,
    /// The number of images kept, because they no longer passed the filter.
    pub kept: u64,
    /// The number of images that no longer existed.
    pub gone: u64,
    /// The number of images that cannot be changed so.
    pub refused_count: u64,
    /// The first of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<Refused>,
    /// The position in the listing from which the job continues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// An image that a job cannot change, with the reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refused {
    pub id: ImageId,
    pub reason: String,
}

/// Returns the seconds until `left` steps are done, rounded up, at the pace of `done` steps in
/// `elapsed`. Returns `None` if none is done yet.
pub(crate) fn eta_seconds(elapsed: Duration, done: u64, left: u64) -> Option<u64> {
    let seconds = elapsed.as_secs_f64() / done as f64 * left as f64;
    let eta = Duration::try_from_secs_f64(seconds.ceil()).ok();
    eta.filter(|_| done > 0).map(|eta| eta.as_secs())
}

/// A job as it is stored and shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// A UUIDv7, so that ids sort by age.
    pub id: Uuid,
    #[serde(flatten)]
    pub task: Task,
    pub state: State,
    /// Jobs of higher priority run first.
    pub priority: i32,
    /// Who started it, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// When it was created, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// When it was started for the first time.
    pub started_at_ms: Option<u64>,
    /// When it ended.
    pub finished_at_ms: Option<u64>,
    /// Number of times that it resumed after its service or worker was stopped or killed.
    pub resumed: u32,
    pub progress: Progress,
    /// Its result, if it succeeded.
    pub result: Value,
    /// The reason, if it failed.
    pub error: Option<String>,
    /// The position of the log when it was created or, later, when it ended, if jobs are shared. A
    /// replica shows and runs the job, or shows its end, only after it has applied the log up to
    /// there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// The revision at which the record was read, if jobs are shared.
    #[serde(skip)]
    pub revision: u64,
}

/// An event in the life of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its number, counting from 1.
    pub id: u32,
    /// The new state, or `progress`.
    pub event: String,
    /// When it happened, in milliseconds since 1970.
    pub at_ms: u64,
    pub data: Value,
}

impl Event {
    pub(crate) fn new(id: u32, event: &str, data: Value) -> Self {
        Event {
            id,
            event: event.to_owned(),
            at_ms: now_ms(),
            data,
        }
    }
}

pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// A run of pages that one worker encodes for a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Range {
    pub job: Uuid,
    /// The model's id.
    pub model: String,
    /// The number of the model's generation.
    pub generation: u32,
    /// The first page.
    pub first: u32,
    /// The first page after the range.
    pub end: u32,
    /// The result, once it is encoded.
    pub(crate) done: Option<EncodedPages>,
    /// The revision at which the record was read.
    #[serde(skip)]
    pub revision: u64,
}

/// The result of encoding some pages.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct EncodedPages {
    /// The number of images that were written, with or without codes.
    pub images: u64,
    /// The images that got no codes.
    pub uncoded: Vec<Uncoded>,
}

impl EncodedPages {
    pub fn add(&mut self, more: EncodedPages) {
        self.images += more.images;
        self.uncoded.extend(more.uncoded);
    }
}

/// An image that got no codes, with the reason.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Uncoded {
    pub id: String,
    pub reason: String,
}
