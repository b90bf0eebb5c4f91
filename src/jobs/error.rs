//! Why a job was refused, not found, or failed, in words that the client can act on.

use std::{
    io,
    path::{Path, PathBuf},
};

use uuid::Uuid;

use crate::{
    files,
    gallery::{GalleryError, OriginalsError},
    index::{FieldPath, IndexError},
    inference::{registry::RegistryError, serving::ServingError},
    jobs::{queue::store::StoreError, record::State},
    model::ModelError,
    options::OptionError,
    replica::SharedRecordsError,
    system::disk::DiskError,
};

/// Why a job was refused, not found, or failed.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// There is no job with this id.
    #[error("there is no job {id}")]
    NoJob { id: Uuid },
    /// The job has not ended. Only a job that has ended can be removed.
    #[error("job {id} is {}; cancel it first", state.name())]
    NotOver { id: Uuid, state: State },
    /// The idempotency key belongs to a job with other options.
    #[error("the idempotency key was used with another request, which created job {id}")]
    OtherRequest { id: Uuid },
    /// An option is out of its range.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// The registry has no model with this id.
    #[error("there is no model {id} in the registry")]
    NoModel { id: String },
    /// The model's card does not say which images are copies.
    #[error(
        "the card of model {model} has no similarity threshold for copies; activate a model whose card has one"
    )]
    NoThresholds { model: String },
    /// No generation has sketches of the model.
    #[error("no generation has sketches of model {model}; create a job for the active model")]
    NotServed { model: String },
    /// The model has no heads for the requested lengths.
    #[error(
        "model {model} has heads for {lengths} bits and is fine-tuned for these; leave `lengths` out"
    )]
    Lengths { model: String, lengths: String },
    /// No image has any of the labels.
    #[error(
        "no image {} has {}; label images first: PATCH /images/{{id}}",
        if *is_filtered { "that passes the filter" } else { "of the gallery" },
        one_of(labels)
    )]
    NoImages {
        /// The requested labels; if there are none, any label would do.
        labels: Vec<String>,
        /// True if the job has a filter.
        is_filtered: bool,
    },
    /// The images have a single class.
    #[error("'{class}' is the only class of the images; at least two are needed")]
    OneClass { class: String },
    /// Each class has a single image.
    #[error(
        "no class has two images, so none can be held out to compare the models; label more images"
    )]
    TooFew,
    /// There are too few images to learn from without labels.
    #[error(
        "{readable} of {images} images can be read, and {learned_from} of these would be learned from; adaptation needs at least {least}"
    )]
    FewToAdapt {
        images: usize,
        /// Number of originals that can be read.
        readable: usize,
        /// Number of these that are not held out.
        learned_from: usize,
        least: usize,
    },
    /// The field of the job was deleted.
    #[error(
        "field `{field}` was deleted, so nothing is left to build; declare it again if you need it"
    )]
    FieldDeleted { field: FieldPath },
    /// Another number of images than expected passes the filter of the job.
    #[error("{found} images pass the filter, not {expected}; nothing was changed")]
    Unexpected { expected: u64, found: u64 },
    /// The archive has no class folders, or not all that were requested.
    #[error("nothing can be learned from the archive: {reason}")]
    Archive { reason: String },
    /// The disk would be filled.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A file of the job cannot be read or written.
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// The learning process could not be run.
    #[error("the learning process cannot be run: {source}")]
    Process { source: io::Error },
    /// The learning process failed.
    #[error("{reason}")]
    Learning { reason: String },
    #[error("the job was cancelled")]
    Cancelled,
    /// Another worker has claimed the job.
    #[error("another worker has the job")]
    Lost,
    /// The stored jobs cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Serving(#[from] ServingError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Gallery(#[from] GalleryError),
    /// The model could not be loaded, or failed to encode.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The operating system cannot start another thread.
    #[error("cannot start a thread: {source}")]
    Thread { source: io::Error },
    #[error("the job's thread panicked")]
    Panicked,
}

impl JobError {
    /// Returns true if a retry may succeed: NATS does not answer, or the disk is full.
    pub(crate) fn is_temporary(&self) -> bool {
        match self {
            JobError::Store(StoreError::SharedRecords(source)) => {
                matches!(source, SharedRecordsError::Unavailable { .. })
            }
            JobError::Store(StoreError::Tree(source))
            | JobError::Gallery(GalleryError::Index(source))
            | JobError::Serving(ServingError::Index(source)) => source.is_temporary(),
            JobError::Serving(source) => matches!(source, ServingError::Replica { .. }),
            _ => false,
        }
    }

    /// Returns true if another worker has the job.
    pub(crate) fn is_lost(&self) -> bool {
        let taken = |source: &StoreError| {
            matches!(
                source,
                StoreError::SharedRecords(SharedRecordsError::Conflict { .. })
            )
        };
        matches!(self, JobError::Lost) || matches!(self, JobError::Store(source) if taken(source))
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
        JobError::Gallery(source.into())
    }
}

impl From<IndexError> for JobError {
    fn from(source: IndexError) -> Self {
        JobError::Gallery(source.into())
    }
}

pub(crate) fn failed(path: &Path, source: std::io::Error) -> JobError {
    JobError::File {
        path: path.to_owned(),
        source,
    }
}

/// Replaces a file atomically.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), JobError> {
    files::replace(path, bytes).map_err(|source| failed(path, source))
}
