//! A job as it is kept and told: what is to be done, where it stands, how far it is and what came of it.
//! Plain data; knows nothing of how a job is done.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::jobs::options::{Adapt, FineTune};
use std::time::{SystemTime, UNIX_EPOCH};

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Task {
    /// To train a model on images of the gallery.
    FineTune(Box<FineTune>),
    /// To make a model of what the gallery shows, without labels.
    Adapt(Adapt),
    /// To encode every original with a model and then search by its codes.
    Reencode {
        /// The model's id.
        model: String,
    },
    /// To find the groups of copies in the gallery.
    FindDuplicates {
        /// The id of the model by whose sketches; the active one when it was asked for.
        model: String,
    },
}

impl Task {
    /// Its kind's name, as in JSON.
    pub fn kind(&self) -> &'static str {
        match self {
            Task::FineTune(_) => "fine_tune",
            Task::Adapt(_) => "adapt",
            Task::Reencode { .. } => "reencode",
            Task::FindDuplicates { .. } => "find_duplicates",
        }
    }
}

/// How many jobs are not over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// They wait for their turn.
    pub queued: usize,
    /// They are under way.
    pub running: usize,
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It waits for its turn.
    Queued,
    /// It is under way; after a crash it goes on.
    Running,
    /// It did what it was to do.
    Succeeded,
    /// It could not; its error says why.
    Failed,
    /// It was told to stop.
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

    /// Whether nothing more will come of it.
    pub fn is_over(self) -> bool {
        !matches!(self, State::Queued | State::Running)
    }
}

/// How far a job is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// What it is at: `export`, `measure`, `features`, `warm-up`, `joint`, `encode` or `compare`.
    pub stage: String,
    /// The epoch, from 1; 0 outside of training.
    pub epoch: u64,
    /// Of how many.
    pub epochs: u64,
    /// Steps done: images, where images are copied, encoded or compared.
    pub step: u64,
    /// Of how many.
    pub steps: u64,
    /// Seconds until it is done, at the pace so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<u64>,
}

/// A job, as it is kept and told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// A UUIDv7, so that ids sort by age.
    pub id: Uuid,
    /// What is to be done.
    #[serde(flatten)]
    pub task: Task,
    /// Where it stands.
    pub state: State,
    /// The higher goes first.
    pub priority: i32,
    /// When it was asked for, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// When it was first begun.
    pub started_at_ms: Option<u64>,
    /// When it was over.
    pub finished_at_ms: Option<u64>,
    /// How often it went on after the service, or the worker that did it, had been stopped or killed.
    pub resumed: u32,
    /// How far it is.
    pub progress: Progress,
    /// What came of it.
    pub result: Value,
    /// Why it failed.
    pub error: Option<String>,
    /// How far the log went when it was over, where several services have it: whoever tells so has come to there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// At which revision it was read, where several services have it.
    #[serde(skip)]
    pub revision: u64,
}

/// Something that happened to a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its number, counting from 1.
    pub id: u32,
    /// What happened: the state it came to, or `progress`.
    pub event: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What there is to tell.
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
    since.map_or(0, |since| since.as_millis() as u64)
}

/// Pages of rows that one worker encodes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Range {
    /// Of which job.
    pub job: Uuid,
    /// With which model.
    pub model: String,
    /// Its generation.
    pub generation: u32,
    /// The first page.
    pub first: u32,
    /// The first page after it.
    pub end: u32,
    /// What came of it, once it is done.
    pub(crate) done: Option<EncodedPages>,
    /// At which revision it was read.
    #[serde(skip)]
    pub revision: u64,
}

/// What came of some pages.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct EncodedPages {
    /// How many images got codes.
    pub images: u64,
    /// Which got none.
    pub uncoded: Vec<Uncoded>,
}

impl EncodedPages {
    pub fn add(&mut self, more: EncodedPages) {
        self.images += more.images;
        self.uncoded.extend(more.uncoded);
    }
}

/// An image that gets no codes, and why.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Uncoded {
    pub id: String,
    pub reason: String,
}
