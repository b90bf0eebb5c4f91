//! The HTTP status and problem code of every error, those of lower layers included.

use std::{error::Error, iter::successors};

use axum::http::StatusCode;

use crate::{
    gallery::{GalleryError, LimitError, OriginalsError},
    http::error::ApiError,
    image::ImageError,
    index::{IndexError, is_full},
    inference::{batch::BatchError, registry::RegistryError, serving::ServingError},
    jobs::{JobError, StoreError},
    model::ModelError,
    replica::SharedRecordsError,
    snapshots::SnapshotError,
    system::disk::DiskError,
};

impl ApiError {
    /// Returns the status and the problem's code. Both are part of the API.
    pub(crate) fn status_and_code(&self) -> (StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            ApiError::Malformed(_) => (S::BAD_REQUEST, "malformed_request"),
            ApiError::EmptyBody | ApiError::EmptyUpload => (S::BAD_REQUEST, "empty_body"),
            ApiError::Base64(_) => (S::BAD_REQUEST, "malformed_base64"),
            ApiError::NoImage(_) => (S::NOT_FOUND, "image_not_found"),
            ApiError::NoModel(_) | ApiError::Serving(ServingError::NoModel { .. }) => {
                (S::NOT_FOUND, "model_not_found")
            }
            ApiError::ModelInUse { .. } | ApiError::Serving(ServingError::Active { .. }) => {
                (S::CONFLICT, "model_in_use")
            }
            ApiError::NoGroups => (S::NOT_FOUND, "duplicates_not_found"),
            ApiError::NoGroup(_) => (S::NOT_FOUND, "group_not_found"),
            ApiError::Job(JobError::NoThresholds { .. }) => (S::CONFLICT, "no_thresholds"),
            ApiError::NoSnapshot(_) => (S::NOT_FOUND, "snapshot_not_found"),
            ApiError::Snapshot(SnapshotError::InProgress) => (S::CONFLICT, "snapshot_under_way"),
            ApiError::NoJob(_) | ApiError::Job(JobError::NoJob { .. }) => {
                (S::NOT_FOUND, "job_not_found")
            }
            ApiError::Job(JobError::Option { .. }) => (S::UNPROCESSABLE_ENTITY, "invalid_json"),
            ApiError::Job(JobError::NotOver { .. }) => (S::CONFLICT, "job_not_over"),
            ApiError::Job(JobError::OtherRequest { .. }) => (S::CONFLICT, "idempotency_key_reused"),
            ApiError::Index(IndexError::PreconditionFailed { .. }) => {
                (S::PRECONDITION_FAILED, "precondition_failed")
            }
            ApiError::NoRoute(_) => (S::NOT_FOUND, "route_not_found"),
            ApiError::Method { .. } => (S::METHOD_NOT_ALLOWED, "method_not_allowed"),
            ApiError::BodyTooLarge | ApiError::UploadTooLarge(_) => {
                (S::PAYLOAD_TOO_LARGE, "body_too_large")
            }
            ApiError::Disk(DiskError::Full { .. })
            | ApiError::Snapshot(SnapshotError::Disk(DiskError::Full { .. }))
            | ApiError::Job(JobError::Disk(DiskError::Full { .. })) => {
                (S::INSUFFICIENT_STORAGE, "disk_full")
            }
            ApiError::Originals(OriginalsError::DiskFull) => (S::INSUFFICIENT_STORAGE, "disk_full"),
            _ if self.index_error().is_some_and(IndexError::is_disk_full) => {
                (S::INSUFFICIENT_STORAGE, "disk_full")
            }
            _ if self.is_disk_full() => (S::INSUFFICIENT_STORAGE, "disk_full"),
            ApiError::Job(JobError::Archive { .. }) => (S::UNPROCESSABLE_ENTITY, "invalid_archive"),
            ApiError::BodyTooSlow(_) => (S::REQUEST_TIMEOUT, "body_too_slow"),
            ApiError::MediaType(_) => (S::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
            ApiError::Invalid(code, _) => (S::UNPROCESSABLE_ENTITY, code),
            ApiError::Image(error) => match error {
                ImageError::Empty => (S::UNPROCESSABLE_ENTITY, "missing_image"),
                ImageError::Format { .. } | ImageError::Unsupported { .. } => {
                    (S::UNSUPPORTED_MEDIA_TYPE, "unsupported_image")
                }
                ImageError::Malformed { .. } => (S::UNPROCESSABLE_ENTITY, "malformed_image"),
                ImageError::TooLarge { .. } => (S::UNPROCESSABLE_ENTITY, "image_too_large"),
                ImageError::Part(_) => (S::UNPROCESSABLE_ENTITY, "invalid_box"),
                ImageError::Resize(_) => (S::INTERNAL_SERVER_ERROR, "internal"),
            },
            ApiError::Code(_) | ApiError::Index(IndexError::NoSuchLength { .. }) => {
                (S::UNPROCESSABLE_ENTITY, "invalid_code")
            }
            ApiError::Index(IndexError::Sketch { .. }) => {
                (S::UNPROCESSABLE_ENTITY, "invalid_sketch")
            }
            ApiError::Id(_) | ApiError::Index(IndexError::Id { .. }) => {
                (S::UNPROCESSABLE_ENTITY, "invalid_id")
            }
            ApiError::Index(IndexError::Cursor { .. }) => {
                (S::UNPROCESSABLE_ENTITY, "invalid_parameter")
            }
            ApiError::Index(IndexError::Payload { .. }) => {
                (S::UNPROCESSABLE_ENTITY, "invalid_payload")
            }
            ApiError::NoKey { .. } => (S::UNAUTHORIZED, "no_key"),
            ApiError::WrongRole { .. } => (S::FORBIDDEN, "wrong_role"),
            ApiError::ForeignPage(_) => (S::FORBIDDEN, "foreign_page"),
            ApiError::ForeignHost(_) => (S::FORBIDDEN, "foreign_host"),
            ApiError::MemoryFull(_) => (S::TOO_MANY_REQUESTS, "memory_full"),
            ApiError::RateLimited(_) | ApiError::WrongKeys => {
                (S::TOO_MANY_REQUESTS, "rate_limited")
            }
            ApiError::Batch(BatchError::Full { .. }) => (S::TOO_MANY_REQUESTS, "queue_full"),
            ApiError::Batch(BatchError::Late { .. }) => (S::SERVICE_UNAVAILABLE, "too_late"),
            ApiError::Originals(_) => (S::SERVICE_UNAVAILABLE, "originals_unavailable"),
            ApiError::ReplicaBehind { .. } => (S::SERVICE_UNAVAILABLE, "behind"),
            _ if matches!(self.index_error(), Some(IndexError::Log { .. })) => {
                (S::SERVICE_UNAVAILABLE, "log_unavailable")
            }
            ApiError::Serving(ServingError::Replica { .. })
            | ApiError::Job(JobError::Store(StoreError::SharedRecords(
                SharedRecordsError::Unavailable { .. },
            ))) => (S::SERVICE_UNAVAILABLE, "log_unavailable"),
            ApiError::NotReady
            | ApiError::TooManyConnections
            | ApiError::ModelStopped
            | ApiError::ReplicaStopped
            | ApiError::CommitsLost
            | ApiError::Batch(BatchError::Closed) => (S::SERVICE_UNAVAILABLE, "unavailable"),
            _ if self.index_error().is_some_and(|error| {
                error.is_temporary() || matches!(error, IndexError::Closed)
            }) =>
            {
                (S::SERVICE_UNAVAILABLE, "unavailable")
            }
            ApiError::Index(_)
            | ApiError::Disk(_)
            | ApiError::Batch(_)
            | ApiError::Job(_)
            | ApiError::Snapshot(_)
            | ApiError::Serving(_)
            | ApiError::Internal(_) => (S::INTERNAL_SERVER_ERROR, "internal"),
        }
    }

    /// Returns true if any cause of the error is a full disk.
    pub(crate) fn is_disk_full(&self) -> bool {
        let causes = successors(self.source(), |&cause| cause.source());
        causes.filter_map(|cause| cause.downcast_ref()).any(is_full)
    }

    /// Returns the index's error, also if another layer's error wraps it.
    fn index_error(&self) -> Option<&IndexError> {
        fn of_gallery(error: &GalleryError) -> Option<&IndexError> {
            match error {
                GalleryError::Index(source) => Some(source),
                _ => None,
            }
        }
        fn of_serving(error: &ServingError) -> Option<&IndexError> {
            match error {
                ServingError::Index(source) => Some(source),
                _ => None,
            }
        }
        match self {
            ApiError::Index(source) | ApiError::Snapshot(SnapshotError::Index(source)) => {
                Some(source)
            }
            ApiError::Job(JobError::Store(StoreError::Tree(source))) => Some(source),
            ApiError::Serving(error) => of_serving(error),
            ApiError::Job(JobError::Serving(source)) => of_serving(source),
            ApiError::Job(JobError::Gallery(source))
            | ApiError::Snapshot(SnapshotError::Gallery(source)) => of_gallery(source),
            _ => None,
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
            let expected = (StatusCode::INSUFFICIENT_STORAGE, "disk_full");
            assert_eq!(error.status_and_code(), expected, "{error:?}");
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
            let expected = (StatusCode::SERVICE_UNAVAILABLE, "unavailable");
            assert_eq!(error.status_and_code(), expected, "{error:?}");
        }
    }
}
