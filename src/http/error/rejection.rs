//! What the framework's own extractors say of a request, in this service's words.
//! Knows the framework's rejections; no route.

use axum::{
    extract::{
        multipart::{MultipartError, MultipartRejection},
        rejection::{BytesRejection, JsonRejection, PathRejection},
    },
    http::StatusCode,
};
use axum_extra::extract::QueryRejection;

use crate::http::error::ApiError;

/// Rejections of one extractor, told by their status.
macro_rules! rejections {
    ($($rejection:ty => $unprocessable:literal),+ $(,)?) => {
        $(impl From<$rejection> for ApiError {
            fn from(rejection: $rejection) -> Self {
                let detail = rejection.body_text();
                match rejection.status() {
                    StatusCode::PAYLOAD_TOO_LARGE => ApiError::BodyTooLarge,
                    StatusCode::UNSUPPORTED_MEDIA_TYPE => ApiError::MediaType(detail),
                    StatusCode::UNPROCESSABLE_ENTITY => ApiError::Invalid($unprocessable, detail),
                    status if status.is_server_error() => ApiError::Internal(detail),
                    _ => ApiError::Malformed(detail),
                }
            }
        })+
    };
}

rejections! {
    BytesRejection => "invalid_body",
    JsonRejection => "invalid_json",
    MultipartError => "invalid_body",
    MultipartRejection => "invalid_body",
    PathRejection => "invalid_id",
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        // The sentence of the cause; the framework's own before it says nothing.
        let cause = std::error::Error::source(&rejection).map(ToString::to_string);
        ApiError::Invalid(
            "invalid_parameter",
            cause.unwrap_or_else(|| rejection.body_text()),
        )
    }
}
