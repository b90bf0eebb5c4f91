//! Errors returned to clients, as `application/problem+json` (RFC 9457).
//!
//! - `status`: the table of statuses, codes and `Retry-After`
//! - `classify`: the kind of each error, by which the table is read
//! - `problem`: the body of a failure
//! - `rejection`: errors of the framework's extractors

mod classify;
pub mod problem;
mod rejection;
mod status;

use std::time::Duration;

use axum::http::Method;

use crate::{
    code::CodeError,
    gallery::OriginalsError,
    http::body::MAX_JSON_BYTES,
    image::ImageError,
    index::{FieldPath, IndexError, InvalidId, InvalidPath},
    inference::{batch::BatchError, serving::ServingError},
    jobs::JobError,
    snapshots::SnapshotError,
    system::disk::DiskError,
};

/// Errors returned to clients.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The body, path or a header is malformed.
    #[error("{0}")]
    Malformed(String),
    #[error("the body is empty; send an image, a multipart form with an image, or JSON")]
    EmptyBody,
    #[error("the file that was sent is empty")]
    EmptyUpload,
    #[error("`image` is not base64: {0}")]
    Base64(#[from] base64::DecodeError),
    #[error("there is no image '{0}'")]
    NoImage(String),
    #[error("there is no model '{0}'; GET /admin/models lists the models")]
    NoModel(String),
    /// `why` says what the model is used for and how to free it.
    #[error("model {id} {why}")]
    ModelInUse { id: String, why: &'static str },
    /// With the path of the field.
    #[error("'{0}' is not a declared field; GET /fields lists the fields")]
    NoField(FieldPath),
    #[error("there is no job '{0}'")]
    NoJob(String),
    #[error(
        "no job has found duplicates by this model's sketches yet; start one: POST /admin/jobs with \
         {{\"kind\": \"find_duplicates\"}}"
    )]
    NoGroups,
    #[error("image '{0}' is in no group of duplicates; GET /duplicates lists the groups")]
    NoGroup(String),
    #[error("there is no snapshot '{0}'; GET /admin/snapshots lists the snapshots")]
    NoSnapshot(String),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Job(#[from] JobError),
    #[error(transparent)]
    Serving(ServingError),
    #[error(
        "this replica has applied the log up to position {position_here}, not {position}; try again, or ask another \
         replica"
    )]
    ReplicaBehind {
        /// The position that the request asks for.
        position: u64,
        position_here: u64,
    },
    #[error("there is nothing at {0}; GET /openapi.yaml describes the routes")]
    NoRoute(String),
    #[error("{path} does not accept {method}; the allow header lists the methods that it accepts")]
    Method { method: Method, path: String },
    #[error(
        "the body is larger than allowed; `max_body_bytes` of GET /info is the limit for an image, {} bytes that for \
         JSON without an image",
        MAX_JSON_BYTES
    )]
    BodyTooLarge,
    /// With the limit in bytes.
    #[error("the file is larger than {0} bytes, which is the limit")]
    UploadTooLarge(u64),
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// With the memory budget in bytes.
    #[error("the requests in progress use all the memory that they may, {0} bytes; try again soon")]
    MemoryFull(u64),
    /// With the limit.
    #[error("the body did not arrive within {} s, which is the limit", .0.as_secs())]
    BodyTooSlow(Duration),
    /// The route does not accept the body's media type.
    #[error("{0}")]
    MediaType(String),
    /// A well-formed but wrong part of the request: the problem's code and its detail.
    #[error("{1}")]
    Invalid(&'static str, String),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Code(#[from] CodeError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Id(#[from] InvalidId),
    #[error(transparent)]
    Field(#[from] InvalidPath),
    /// The filter is in the wrong place or too long for it. [`IndexError::Filter`] is an error of
    /// the filter itself.
    #[error("{0}")]
    Filter(String),
    /// A change of many images does not say which.
    #[error(
        "the filter is missing or empty; say which images are meant, for all of them `filter=id EXISTS`"
    )]
    NoFilter,
    /// Another number of images pass the filter than the client expects.
    #[error("{found} images pass the filter, not {expected}; nothing was changed")]
    Count { found: u64, expected: u64 },
    #[error("{0}; try again soon")]
    Originals(#[from] OriginalsError),
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error("{}; send `Authorization: Bearer KEY`", if *was_sent { "the key is not one of this service's keys" } else { "a key is needed" })]
    NoKey {
        /// True if there is an Authorization header.
        was_sent: bool,
    },
    #[error("too many wrong keys came from this address; try again in a second")]
    WrongKeys,
    #[error("the key has the role {has}; this request needs {needs}")]
    WrongRole {
        has: &'static str,
        needs: &'static str,
    },
    /// With the origin of the page.
    #[error(
        "pages of {0} may not send this request; start the service with --public-url if browsers reach it under that \
         origin, or with --cors-origin to allow pages of that origin"
    )]
    ForeignPage(String),
    /// With the host name of the request.
    #[error(
        "without keys this service answers only to localhost, IP addresses and names without a dot, not to '{0}'; \
         configure keys, or pass that name in --public-url"
    )]
    ForeignHost(String),
    /// With the time until the key may be used again.
    #[error("the key has reached its limit of requests a second; try again in {} s", .0.as_secs())]
    RateLimited(Duration),
    #[error(
        "the service has reached its limit of connections; try again soon, and close connections that you do not need"
    )]
    TooManyConnections,
    #[error("the service is starting or stopping; try again soon")]
    NotReady,
    #[error("the model no longer answers; restart the service")]
    ModelStopped,
    #[error(
        "the replica no longer follows the replication log; see the service's own log, and restart it"
    )]
    ReplicaStopped,
    #[error(
        "the store lost acknowledged commits and accepts no more writes; see the service's log, and restart it"
    )]
    CommitsLost,
    /// A failure that the client did not cause.
    #[error("{0}")]
    Internal(String),
}

impl ApiError {
    /// A failure that the client did not cause. The cause is logged; the client does not see it.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        ApiError::Internal(cause.to_string())
    }
}
