//! The protocol between the service and the learning process: the files in a job's folder, the task
//! in one of them, and the lines that the process prints.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::jobs::options::{Adapt, FineTune};

/// The folder of images to learn from.
pub(crate) const IMAGES: &str = "images";
/// The list of these images, which is written last.
pub(crate) const MANIFEST: &str = "images.jsonl";
pub(crate) const TASK: &str = "task.json";
/// The checkpoint that the new model is made from.
pub(crate) const PARENT: &str = "parent.safetensors";
/// The parent's measured quality.
pub(crate) const BEFORE: &str = "before.json";
/// The trained model, before its quality is written into its card.
pub(crate) const TRAINED: &str = "trained.safetensors";
/// The new model; while it is trained, the model after the last epoch.
pub(crate) const MODEL: &str = "model.safetensors";
/// The measured quality of both models.
pub(crate) const OUTCOME: &str = "outcome.json";

/// The files from which a process of another worker resumes. They are packed in this order, so that
/// no file is newer than the files after it.
pub(crate) const RESUME_FILES: [&str; 4] = ["model.safetensors.resume", MODEL, TRAINED, BEFORE];

/// The task of the process, as the service writes it to [`TASK`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", content = "options", rename_all = "snake_case")]
pub(crate) enum Task {
    FineTune(FineTune),
    Adapt(Adapt),
}

/// A line that the process prints.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ProgressLine {
    /// `measure`, `features`, `warm-up` or `joint`.
    pub stage: String,
    pub epoch: u64,
    pub epochs: u64,
    pub step: u64,
    pub steps: u64,
    pub eta_seconds: Option<u64>,
    /// `loss`, `reward`, `images_per_second`, and after an epoch `map` by length.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// Returns true if training is done and only the measurement is left.
pub(crate) fn is_trained(folder: &Path) -> bool {
    folder.join(TRAINED).exists()
}
