//! The kind of each error, those of lower layers included. `status` has what a client gets for it.

use std::{error::Error, iter::successors};

use crate::{
    gallery::{GalleryError, LimitError, OriginalsError},
    http::error::{ApiError, status::Kind},
    image::ImageError,
    index::{FilterError, IndexError, is_full},
    inference::{batch::BatchError, registry::RegistryError, serving::ServingError},
    jobs::{JobError, StoreError},
    model::ModelError,
    options::OptionError,
    replica::SharedRecordsError,
    snapshots::SnapshotError,
    system::disk::DiskError,
};

impl ApiError {
    pub(crate) fn kind(&self) -> Kind {
        // First, because it can be the cause of any layer's error.
        if self.is_caused_by_full_disk() {
            return Kind::DISK_FULL;
        }
        match self {
            ApiError::Malformed(_) => Kind::MALFORMED,
            ApiError::EmptyBody | ApiError::EmptyUpload => Kind::EMPTY_BODY,
            ApiError::Base64(_) => Kind::MALFORMED_BASE64,
            ApiError::NoKey { .. } => Kind::NO_KEY,
            ApiError::WrongRole { .. } => Kind::WRONG_ROLE,
            ApiError::ForeignPage(_) => Kind::FOREIGN_PAGE,
            ApiError::ForeignHost(_) => Kind::FOREIGN_HOST,
            ApiError::NoImage(_) => Kind::NO_IMAGE,
            ApiError::NoModel(_) => Kind::NO_MODEL,
            ApiError::NoField(_) => Kind::NO_FIELD,
            ApiError::NoJob(_) => Kind::NO_JOB,
            ApiError::NoGroups => Kind::NO_GROUPS,
            ApiError::NoGroup(_) => Kind::NO_GROUP,
            ApiError::NoSnapshot(_) => Kind::NO_SNAPSHOT,
            ApiError::NoRoute(_) => Kind::NO_ROUTE,
            ApiError::Method { .. } => Kind::METHOD,
            ApiError::BodyTooSlow(_) => Kind::BODY_TOO_SLOW,
            ApiError::ModelInUse { .. } => Kind::MODEL_IN_USE,
            ApiError::BodyTooLarge | ApiError::UploadTooLarge(_) => Kind::BODY_TOO_LARGE,
            ApiError::MediaType(_) => Kind::MEDIA_TYPE,
            ApiError::Invalid(code, _) => Kind::invalid(code),
            ApiError::Code(_) => Kind::invalid("invalid_code"),
            ApiError::Id(_) => Kind::invalid("invalid_id"),
            ApiError::Field(_) => Kind::invalid("invalid_field"),
            ApiError::Filter(_) => Kind::INVALID_FILTER,
            ApiError::NoFilter => Kind::MISSING_FILTER,
            ApiError::Count { .. } => Kind::COUNT,
            ApiError::RateLimited(wait) => Kind::rate_limited(wait.as_secs()),
            ApiError::WrongKeys => Kind::rate_limited(1),
            ApiError::MemoryFull(_) => Kind::MEMORY_FULL,
            ApiError::ReplicaBehind { .. } => Kind::BEHIND,
            ApiError::NotReady
            | ApiError::TooManyConnections
            | ApiError::ModelStopped
            | ApiError::ReplicaStopped
            | ApiError::CommitsLost => Kind::UNAVAILABLE,
            ApiError::Internal(_) => Kind::INTERNAL,
            ApiError::Image(error) => image(error),
            ApiError::Index(error) => index(error),
            ApiError::Originals(error) => originals(error),
            ApiError::Batch(error) => batch(error),
            ApiError::Serving(error) => serving(error),
            ApiError::Job(error) => job(error),
            ApiError::Snapshot(error) => snapshot(error),
            ApiError::Disk(error) => disk(error),
        }
    }

    /// Returns true if any cause of the error is the operating system's error for a full disk.
    pub(crate) fn is_caused_by_full_disk(&self) -> bool {
        let causes = successors(self.source(), |&cause| cause.source());
        causes.filter_map(|cause| cause.downcast_ref()).any(is_full)
    }
}

fn image(error: &ImageError) -> Kind {
    match error {
        ImageError::Empty => Kind::invalid("missing_image"),
        ImageError::Format { .. } | ImageError::Unsupported { .. } => Kind::IMAGE_FORMAT,
        ImageError::Malformed { .. } => Kind::invalid("malformed_image"),
        ImageError::TooLarge { .. } => Kind::invalid("image_too_large"),
        ImageError::Part(_) => Kind::invalid("invalid_box"),
        ImageError::Resize(_) => Kind::INTERNAL,
    }
}

/// The kind of an error that a request's own call of the index returned.
fn index(error: &IndexError) -> Kind {
    match error {
        IndexError::PreconditionFailed { .. } => Kind::PRECONDITION,
        IndexError::NoSuchLength { .. } => Kind::invalid("invalid_code"),
        IndexError::Sketch { .. } => Kind::invalid("invalid_sketch"),
        IndexError::Id { .. } => Kind::invalid("invalid_id"),
        IndexError::Cursor { .. } | IndexError::Order { .. } => Kind::invalid("invalid_parameter"),
        IndexError::Payload => Kind::invalid("invalid_payload"),
        IndexError::Filter { source } => filter(source),
        IndexError::ManyKeywords { .. } => Kind::MANY_KEYWORDS,
        IndexError::FieldType { .. } | IndexError::ManyFields { .. } => Kind::FIELD_CONFLICT,
        IndexError::ReservedField { .. } => Kind::invalid("invalid_field"),
        IndexError::NoSuchField { .. } => Kind::NO_FIELD,
        other => store(other),
    }
}

fn filter(error: &FilterError) -> Kind {
    match error {
        FilterError::Undeclared { .. } => Kind::UNDECLARED_FIELD,
        FilterError::NotBuilt { .. } => Kind::FIELD_NOT_BUILT,
        FilterError::Empty
        | FilterError::TooLong { .. }
        | FilterError::TooLongInFull { .. }
        | FilterError::Wrong { .. } => Kind::INVALID_FILTER,
    }
}

/// The kind of an error of the index in another layer's error. The values that the layer passed
/// were its own, so the client is not at fault.
fn store(error: &IndexError) -> Kind {
    match error {
        _ if error.is_disk_full() => Kind::DISK_FULL,
        IndexError::Log { .. } => Kind::NO_LOG,
        IndexError::Closed => Kind::UNAVAILABLE,
        _ if error.is_temporary() => Kind::UNAVAILABLE,
        _ => Kind::INTERNAL,
    }
}

/// The kind of an error of the gallery in another layer's error.
fn gallery(error: &GalleryError) -> Kind {
    match error {
        GalleryError::Index(source) => store(source),
        _ => Kind::INTERNAL,
    }
}

fn originals(error: &OriginalsError) -> Kind {
    match error {
        OriginalsError::DiskFull => Kind::DISK_FULL,
        _ => Kind::NO_ORIGINALS,
    }
}

fn batch(error: &BatchError) -> Kind {
    match error {
        BatchError::Full { .. } => Kind::QUEUE_FULL,
        BatchError::Late { .. } => Kind::TOO_LATE,
        BatchError::Closed => Kind::UNAVAILABLE,
        _ => Kind::INTERNAL,
    }
}

fn serving(error: &ServingError) -> Kind {
    match error {
        ServingError::NoModel { .. } => Kind::NO_MODEL,
        ServingError::Active { .. } => Kind::MODEL_IN_USE,
        ServingError::Replica(_) => Kind::NO_LOG,
        ServingError::Index(source) => store(source),
        _ => Kind::INTERNAL,
    }
}

fn job(error: &JobError) -> Kind {
    match error {
        JobError::NoJob { .. } => Kind::NO_JOB,
        JobError::NotOver { .. } => Kind::JOB_NOT_OVER,
        JobError::OtherRequest { .. } => Kind::KEY_REUSED,
        JobError::NoThresholds { .. } => Kind::NO_THRESHOLDS,
        JobError::Option(_) => Kind::invalid("invalid_json"),
        JobError::Archive { .. } => Kind::invalid("invalid_archive"),
        JobError::Store(StoreError::SharedRecords(SharedRecordsError::Unavailable { .. })) => {
            Kind::NO_LOG
        }
        JobError::Store(StoreError::Tree(source))
        | JobError::Serving(ServingError::Index(source)) => store(source),
        JobError::Gallery(source) => gallery(source),
        JobError::Disk(source) => disk(source),
        _ => Kind::INTERNAL,
    }
}

fn snapshot(error: &SnapshotError) -> Kind {
    match error {
        SnapshotError::InProgress => Kind::SNAPSHOT_IN_PROGRESS,
        SnapshotError::Index(source) => store(source),
        SnapshotError::Gallery(source) => gallery(source),
        SnapshotError::Disk(source) => disk(source),
        _ => Kind::INTERNAL,
    }
}

fn disk(error: &DiskError) -> Kind {
    match error {
        DiskError::Full { .. } => Kind::DISK_FULL,
        DiskError::Unknown { .. } => Kind::INTERNAL,
    }
}

impl From<OptionError> for ApiError {
    fn from(error: OptionError) -> Self {
        JobError::from(error).into()
    }
}

impl From<GalleryError> for ApiError {
    fn from(error: GalleryError) -> Self {
        match error {
            GalleryError::Index(source) => source.into(),
            GalleryError::Originals(source) => source.into(),
            panicked @ GalleryError::Panicked { .. } => ApiError::internal(panicked),
        }
    }
}

impl From<LimitError> for ApiError {
    fn from(error: LimitError) -> Self {
        let code = match error {
            LimitError::Labels { .. } | LimitError::Label { .. } => "invalid_label",
            LimitError::Payload { .. } | LimitError::Depth { .. } | LimitError::Integer { .. } => {
                "invalid_payload"
            }
        };
        ApiError::Invalid(code, error.to_string())
    }
}

impl From<ServingError> for ApiError {
    /// Keeps the reason why a model file is not usable, and drops its path.
    fn from(error: ServingError) -> Self {
        match error {
            ServingError::Registry(RegistryError::Model(ModelError::Format { reason, .. })) => {
                ApiError::Invalid(
                    "invalid_model",
                    format!("the file is not a usable model: {reason}"),
                )
            }
            other => ApiError::Serving(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_507_in_every_layer() {
        let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
        let unknown = DiskError::Unknown {
            path: "models/a".into(),
            source: full(),
        };
        let of_registry = RegistryError::Folder {
            path: "models/a".into(),
            source: full(),
        };
        let of_serving = ServingError::from(of_registry);
        for error in [unknown.into(), ApiError::from(of_serving)] {
            assert_eq!(error.kind(), Kind::DISK_FULL, "{error:?}");
            assert!(!error.detail().contains("models"), "{error:?}");
        }
    }

    #[test]
    fn a_closed_store_is_unavailable_in_every_layer() {
        let closed = || IndexError::Closed;
        let of_gallery = || GalleryError::Index(closed());
        let of_serving = || ServingError::Index(closed());
        for error in [
            ApiError::Index(closed()),
            of_gallery().into(),
            of_serving().into(),
            JobError::from(of_gallery()).into(),
            JobError::from(of_serving()).into(),
            SnapshotError::from(closed()).into(),
            SnapshotError::from(of_gallery()).into(),
        ] {
            assert_eq!(error.kind(), Kind::UNAVAILABLE, "{error:?}");
        }
    }
}
