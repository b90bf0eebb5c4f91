//! Errors returned to clients, as `application/problem+json` (RFC 9457).
//!
//! `status` the HTTP status and problem code of each error · `rejection` errors of the framework's
//! extractors.

mod rejection;
mod status;

use std::time::Duration;

use axum::{
    Json,
    extract::Request,
    http::{HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{
    code::CodeError,
    gallery::{GalleryError, OriginalsError},
    http::{body::MAX_JSON_BYTES, middleware::trace::request_id},
    image::ImageError,
    index::{IndexError, InvalidId},
    inference::{batch::BatchError, serving::ServingError},
    jobs::{JobError, OptionError},
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

impl ApiError {
    /// Returns the body for the client, without the request id.
    pub(crate) fn problem(&self) -> Problem {
        let (status, code) = self.status_and_code();
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(error = ?self, "{self}");
        }
        let detail = self.detail();
        Problem {
            r#type: format!("urn:scihcgrl:problem:{code}"),
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            detail,
            code,
            request_id: None,
        }
    }

    /// Returns the problem's `detail`: the error's message, unless it would show internals.
    fn detail(&self) -> String {
        match self.status_and_code().0 {
            StatusCode::INTERNAL_SERVER_ERROR => INTERNAL.to_owned(),
            // The message would name a path.
            _ if self.is_disk_full() => DISK_FULL.to_owned(),
            _ => self.to_string(),
        }
    }

    /// Returns the seconds after which a retry may succeed.
    fn retry_after(&self, status: StatusCode) -> Option<u64> {
        match self {
            ApiError::RateLimited(wait) => Some(wait.as_secs()),
            ApiError::Batch(BatchError::Full { .. } | BatchError::Late { .. })
            | ApiError::ReplicaBehind { .. }
            | ApiError::WrongKeys
            | ApiError::MemoryFull(_) => Some(1),
            _ if self.status_and_code().1 == "log_unavailable" => Some(1),
            _ if [
                StatusCode::SERVICE_UNAVAILABLE,
                StatusCode::INSUFFICIENT_STORAGE,
            ]
            .contains(&status) =>
            {
                Some(5)
            }
            _ => None,
        }
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

impl IntoResponse for ApiError {
    /// Returns the status with the problem as an extension. [`write_problem`] writes the body,
    /// because it knows the request id.
    fn into_response(self) -> Response {
        let problem = self.problem();
        let (status, _) = self.status_and_code();
        let mut response = status.into_response();
        response.extensions_mut().insert(problem);
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after(status) {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if let ApiError::Index(IndexError::PreconditionFailed {
            present: Some(present),
            ..
        }) = &self
            && let Ok(tag) = format!("\"{present}\"").parse()
        {
            headers.insert(header::ETAG, tag);
        }
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

const DISK_FULL: &str = "the disk is full; writes work again once there is space";
const INTERNAL: &str = "the service failed; its log has the cause under this request_id";

/// The body of a failure (RFC 9457).
#[derive(Clone, Serialize)]
pub(crate) struct Problem {
    r#type: String,
    title: &'static str,
    pub status: u16,
    detail: String,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

/// Writes the body of every failure, of handlers, extractors, the router and caught panics alike.
pub(crate) async fn write_problem(request: Request, next: Next) -> Response {
    let id = request_id(&request).to_owned();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = next.run(request).await;
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    if response.extensions().get::<Problem>().is_none() {
        let error = match status {
            StatusCode::NOT_FOUND => ApiError::NoRoute(path),
            StatusCode::METHOD_NOT_ALLOWED => ApiError::Method { method, path },
            _ => ApiError::internal(format!("an answer of {status} without a problem")),
        };
        let mut described = error.into_response();
        // Such as the allow header of a 405.
        described.headers_mut().extend(response.headers().clone());
        response = described;
    }
    let status = response.status();
    let Some(mut problem) = response.extensions_mut().remove::<Problem>() else {
        return response;
    };
    problem.request_id = Some(id);
    let mut headers = std::mem::take(response.headers_mut());
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    (status, headers, Json(problem)).into_response()
}
