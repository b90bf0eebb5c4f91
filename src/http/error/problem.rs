//! The body of a failure, `application/problem+json` (RFC 9457).

use axum::{
    Json,
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{
    http::{
        error::{ApiError, status::Kind},
        middleware::trace::request_id,
    },
    index::IndexError,
};

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

impl ApiError {
    /// Returns the body for the client, without the request id.
    pub(crate) fn problem(&self) -> Problem {
        let Kind { status, code, .. } = self.kind();
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(error = ?self, "{self}");
        }
        Problem {
            r#type: format!("urn:scihcgrl:problem:{code}"),
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            detail: self.detail(),
            code,
            request_id: None,
        }
    }

    /// Returns the problem's `detail`: the error's message, unless it would show internals.
    pub(super) fn detail(&self) -> String {
        match self.kind().status {
            StatusCode::INTERNAL_SERVER_ERROR => INTERNAL.to_owned(),
            // The message would name a path.
            _ if self.is_caused_by_full_disk() => DISK_FULL.to_owned(),
            _ => self.to_string(),
        }
    }
}

impl IntoResponse for ApiError {
    /// Returns the status with the problem as an extension. `write_problem` writes the body,
    /// because it knows the request id.
    fn into_response(self) -> Response {
        let Kind {
            status,
            retry_after,
            ..
        } = self.kind();
        let mut response = status.into_response();
        response.extensions_mut().insert(self.problem());
        let headers = response.headers_mut();
        if let Some(seconds) = retry_after {
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
