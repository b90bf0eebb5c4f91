//! Every way a request can fail, and its form as `application/problem+json`, for the framework's own failures too.
//! Knows no routes. Which status each has stands in `kind`, what the framework's extractors say in `rejection`.

mod kind;
mod rejection;

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

/// Why a request is not answered as it wished.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The body or the path is not what its form promises.
    #[error("{0}")]
    Malformed(String),
    /// A body was needed.
    #[error("the body is empty; it has to be an image, multipart with an image, or JSON")]
    EmptyBody,
    /// A file was needed.
    #[error("the file that was sent is empty")]
    EmptyUpload,
    /// A base64 text that is not.
    #[error("`image` is not base64: {0}")]
    Base64(#[from] base64::DecodeError),
    /// An image id nobody has.
    #[error("there is no image '{0}'")]
    NoImage(String),
    /// A model id nobody has.
    #[error("there is no model '{0}'; GET /admin/models tells which there are")]
    NoModel(String),
    /// A model whose codes are searched or kept.
    #[error("model {id} {why}")]
    ModelInUse {
        /// Which.
        id: String,
        /// For what, and what would free it.
        why: &'static str,
    },
    /// A job id nobody has.
    #[error("there is no job '{0}'")]
    NoJob(String),
    /// No job has found groups of copies.
    #[error(
        "no groups of copies were found yet by the sketches of this model; have a job find them: POST /admin/jobs with \
         {{\"kind\": \"find_duplicates\"}}"
    )]
    NoGroups,
    /// An image that is in no group of copies.
    #[error("image '{0}' is in none of the groups of copies that GET /duplicates lists")]
    NoGroup(String),
    /// A snapshot id nobody has.
    #[error("there is no snapshot '{0}'; GET /admin/snapshots tells which there are")]
    NoSnapshot(String),
    /// A snapshot could not be made or read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The jobs refused or failed.
    #[error(transparent)]
    Job(#[from] JobError),
    /// A change of models was refused or failed.
    #[error(transparent)]
    Serving(ServingError),
    /// A replica that has not applied what its caller waits for.
    #[error(
        "this replica has applied the log up to {position_here}, not to {position}; try again, or ask another"
    )]
    Behind {
        /// Where it should be.
        position: u64,
        /// Where it is.
        position_here: u64,
    },
    /// No route of this path.
    #[error("there is nothing at {0}; GET /openapi.yaml tells what there is")]
    NoRoute(String),
    /// A route, but not of this method.
    #[error("{method} does not work on {path}; the allow header names what does")]
    Method {
        /// The method tried.
        method: Method,
        /// On this path.
        path: String,
    },
    /// A body past the limit.
    #[error(
        "the body is larger than this service reads; GET /info has the most for an image, and JSON without an image has at most {} bytes",
        MAX_JSON_BYTES
    )]
    BodyTooLarge,
    /// A file past the limit.
    #[error("the file is larger than {0} bytes, which is the most that is taken")]
    UploadTooLarge(u64),
    /// A disk without room for what was sent.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Requests hold as many bytes as they may, which is this many.
    #[error(
        "the requests that are under way hold as much as they may, {0} bytes in all; try again soon"
    )]
    MemoryFull(u64),
    /// A body that took too long to come.
    #[error("the body did not come within {} s, which is as long as it may take", .0.as_secs())]
    BodyTooSlow(Duration),
    /// A body of a media type the route does not read.
    #[error("{0}")]
    MediaType(String),
    /// A part of the request that is well-formed but wrong; the word is the problem's code.
    #[error("{1}")]
    Invalid(&'static str, String),
    /// Bytes that are not a picture.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Text that is not a code.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// The index refused or failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Not an image id.
    #[error(transparent)]
    Id(#[from] InvalidId),
    /// The place of originals failed.
    #[error("{0}; try again soon")]
    Originals(#[from] OriginalsError),
    /// No codes were made.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// No key, or one that is none.
    #[error("{}", if *given { "the key is not one of this service's; the header is `Authorization: Bearer KEY`" } else { "a key is needed: `Authorization: Bearer KEY`" })]
    NoKey {
        /// Whether there was something in its place.
        given: bool,
    },
    /// A wrong key from where many came from.
    #[error("many wrong keys came from this address; try again in a second")]
    WrongKeys,
    /// A key of a lesser role.
    #[error("the key's role is {has}; this needs {needs}")]
    WrongRole {
        /// The key's.
        has: &'static str,
        /// What would be right.
        needs: &'static str,
    },
    /// A page of another origin.
    #[error(
        "a page of {0} may not do this here; if that is where this service is reached, start it with --public-url and that address; if it is \
         another page that may, with --cors-origin"
    )]
    ForeignPage(String),
    /// A name that may not be this service's.
    #[error(
        "without keys this service answers to localhost, addresses and names without a dot, not to '{0}'; give it keys, or that name with \
         --public-url"
    )]
    ForeignHost(String),
    /// A key that was used too often.
    #[error("the key has been used as often as it may for now; try again in {} s", .0.as_secs())]
    RateLimited(Duration),
    /// A connection past the most.
    #[error(
        "the service has as many connections as it may; try again soon, and close those that are not needed"
    )]
    Crowded,
    /// Starting or draining.
    #[error("the service is starting or stopping; try again soon")]
    NotReady,
    /// The model's thread is gone.
    #[error("the model no longer answers; the service has to be started again")]
    Dead,
    /// A replica that cannot go on.
    #[error(
        "the replica follows its gallery's log no further; its own log says why, and the service has to be started again"
    )]
    Stopped,
    /// A store that accepts no more writes.
    #[error(
        "the store lost commits that were acknowledged and accepts no more writes; its log says more, and the service has to be started again"
    )]
    Lost,
    /// A fault of this program.
    #[error("{0}")]
    Internal(String),
}

impl ApiError {
    /// A fault that no caller can mend; its cause is logged, not told.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        ApiError::Internal(cause.to_string())
    }
}

impl ApiError {
    /// As callers are told it, without the request's id.
    pub(crate) fn problem(&self) -> Problem {
        let (status, code) = self.kind();
        let fault = status == StatusCode::INTERNAL_SERVER_ERROR;
        if fault {
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

    /// The problem's `detail`: the error's own words, unless they would show what is internal.
    fn detail(&self) -> String {
        match self.kind().0 {
            StatusCode::INTERNAL_SERVER_ERROR => INTERNAL.to_owned(),
            // Where it was written to is no caller's.
            _ if self.of_full_disk() => DISK_FULL.to_owned(),
            _ => self.to_string(),
        }
    }

    /// Seconds after which it is worth trying again.
    fn retry_after(&self, status: StatusCode) -> Option<u64> {
        match self {
            ApiError::RateLimited(wait) => Some(wait.as_secs()),
            ApiError::Batch(BatchError::Full { .. } | BatchError::Late { .. })
            | ApiError::Behind { .. }
            | ApiError::WrongKeys
            | ApiError::MemoryFull(_) => Some(1),
            _ if self.kind().1 == "log_unavailable" => Some(1),
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
            GalleryError::Index { source } => source.into(),
            GalleryError::Originals { source } => source.into(),
            panicked @ GalleryError::Panicked { .. } => ApiError::internal(panicked),
        }
    }
}

impl IntoResponse for ApiError {
    /// The status with the problem set aside; [`as_problem`] writes the body, since it knows the request.
    fn into_response(self) -> Response {
        let problem = self.problem();
        let (status, _) = self.kind();
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

const DISK_FULL: &str = "the disk is full; the service writes again when there is room";
const INTERNAL: &str = "the service failed; its log has the cause under this request_id";

/// A failure in the form of RFC 9457.
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

/// Gives every failure its body, whoever made it: a handler, an extractor, the router or a caught panic.
pub(crate) async fn as_problem(request: Request, next: Next) -> Response {
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
        // The allow header of a 405, for one.
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
