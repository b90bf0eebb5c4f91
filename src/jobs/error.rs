//! Why a job is not accepted, found, or ended otherwise than it wished, each in words that whoever asked for it can act on.
//! Knows no status codes, and nothing of what jobs do.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use uuid::Uuid;

use crate::{
    gallery::{GalleryError, OriginalsError},
    index::IndexError,
    inference::{registry::RegistryError, serving::ServingError},
    jobs::{options::OptionError, queue::store::StoreError, record::State},
    model::ModelError,
    replica::SharedRecordsError,
    system::disk::DiskError,
};

/// Why a job is not accepted, found or ended as it wished.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// No job of this id.
    #[error("there is no job {id}")]
    NoJob {
        /// Which.
        id: Uuid,
    },
    /// A job that is not over cannot be removed.
    #[error("job {id} is {}; cancel it first", state.name())]
    NotOver {
        /// Which.
        id: Uuid,
        /// What it is.
        state: State,
    },
    /// The key of an earlier request that asked for something else.
    #[error("the idempotency key was given with another request, which made job {id}")]
    OtherRequest {
        /// The job made then.
        id: Uuid,
    },
    /// An option out of its range.
    #[error(transparent)]
    Option {
        /// Which, and what would be right.
        #[from]
        source: OptionError,
    },
    /// No checkpoint of this id.
    #[error("there is no model {id} to go on from")]
    NoModel {
        /// Which.
        id: String,
    },
    /// A model that does not say which images are copies.
    #[error(
        "the card of model {model} has no `thresholds`, so nothing tells from which similarity on images are copies; activate a model whose \
         card has them"
    )]
    NoThresholds {
        /// Which.
        model: String,
    },
    /// A model of which no sketches are kept.
    #[error(
        "images have no sketches of model {model} any more; ask again for those of the active one"
    )]
    NotServed {
        /// Which.
        model: String,
    },
    /// Lengths that the model has no heads for.
    #[error(
        "model {model} has heads for {lengths} bits, and these are what it is fine-tuned for; leave `lengths` out"
    )]
    Lengths {
        /// Which model.
        model: String,
        /// Its lengths.
        lengths: String,
    },
    /// Nothing to learn from.
    #[error(
        "no image of the gallery has {}; label images first: PATCH /images/{{id}}",
        one_of(labels)
    )]
    NoImages {
        /// The labels asked for; none is any.
        labels: Vec<String>,
    },
    /// Images of a single class.
    #[error("'{class}' is the only class of the images; at least two are needed")]
    OneClass {
        /// Which.
        class: String,
    },
    /// A single image of each class.
    #[error(
        "no class has two images, so none can be kept to compare the models by; label more images"
    )]
    TooFew,
    /// Fewer pictures than can be learned from without labels.
    #[error(
        "{readable} of {images} images can be read, and {learned_from} of these would be learned from; at least {least} must be, to learn what \
         pictures differ by"
    )]
    FewToAdapt {
        /// How many there are.
        images: usize,
        /// Of how many the original can be read.
        readable: usize,
        /// How many of these are not kept to compare models by.
        learned_from: usize,
        /// How many are needed.
        least: usize,
    },
    /// An archive that is none of class folders, or not of those asked for.
    #[error("nothing can be learned from the archive: {reason}")]
    Archive {
        /// Why not.
        reason: String,
    },
    /// A disk that would be filled.
    #[error(transparent)]
    Disk {
        /// Which.
        #[from]
        source: DiskError,
    },
    /// A file of the job that cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The process that learns could not be run.
    #[error("the process that learns cannot be run: {source}")]
    Process {
        /// Why not.
        source: io::Error,
    },
    /// It could not learn.
    #[error("{reason}")]
    Learning {
        /// Why not.
        reason: String,
    },
    /// The job was cancelled.
    #[error("the job was cancelled")]
    Cancelled,
    /// The job is another worker's.
    #[error("another worker has the job")]
    Lost,
    /// What is kept of jobs cannot be read or written.
    #[error(transparent)]
    Store {
        /// Why not.
        #[from]
        source: StoreError,
    },
    /// The models refused or failed.
    #[error(transparent)]
    Serving {
        /// With what.
        #[from]
        source: ServingError,
    },
    /// The registry failed.
    #[error(transparent)]
    Registry {
        /// With what.
        #[from]
        source: RegistryError,
    },
    /// The gallery refused or failed.
    #[error(transparent)]
    Gallery {
        /// With what.
        #[from]
        source: GalleryError,
    },
    /// The model that encodes could not be loaded, or failed.
    #[error(transparent)]
    Model {
        /// Why.
        #[from]
        source: ModelError,
    },
    /// The operating system gives no thread.
    #[error("cannot start a thread: {source}")]
    Thread {
        /// What it said.
        source: io::Error,
    },
    /// A thread of the job panicked.
    #[error("the job's thread panicked")]
    Panicked,
}

impl JobError {
    /// Whether it is worth trying again soon: the servers that replicas share do not answer just now, or the disk is full.
    pub(crate) fn passes(&self) -> bool {
        match self {
            JobError::Store {
                source: StoreError::SharedRecords { source },
            } => matches!(source, SharedRecordsError::Unavailable { .. }),
            JobError::Store {
                source: StoreError::Tree { source },
            }
            | JobError::Gallery {
                source: GalleryError::Index { source },
            }
            | JobError::Serving {
                source: ServingError::Index { source },
            } => source.passes(),
            JobError::Serving { source } => matches!(source, ServingError::Replica { .. }),
            _ => false,
        }
    }

    /// Whether another worker wrote what was to be written.
    pub(crate) fn is_lost(&self) -> bool {
        let taken = |source: &StoreError| {
            matches!(
                source,
                StoreError::SharedRecords {
                    source: SharedRecordsError::Taken { .. }
                }
            )
        };
        matches!(self, JobError::Lost)
            || matches!(self, JobError::Store { source } if taken(source))
    }
}

fn one_of(labels: &[String]) -> String {
    match labels {
        [] => "a label".to_owned(),
        [one] => format!("the label '{one}'"),
        several => format!("one of the labels '{}'", several.join("', '")),
    }
}

impl From<OriginalsError> for JobError {
    fn from(source: OriginalsError) -> Self {
        JobError::Gallery {
            source: source.into(),
        }
    }
}

impl From<IndexError> for JobError {
    fn from(source: IndexError) -> Self {
        JobError::Gallery {
            source: source.into(),
        }
    }
}

pub(crate) fn failed(path: &Path, source: std::io::Error) -> JobError {
    JobError::File {
        path: path.to_owned(),
        source,
    }
}

pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), JobError> {
    let part = path.with_extension("part");
    let written = fs::write(&part, bytes).and_then(|()| fs::rename(&part, path));
    written.map_err(|source| failed(path, source))
}
