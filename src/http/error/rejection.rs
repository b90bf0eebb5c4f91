//! Turns the rejections of the framework's extractors into `ApiError`s.

use axum::{
    extract::{
        multipart::{MultipartError, MultipartRejection},
        rejection::{BytesRejection, JsonRejection, PathRejection},
    },
    http::StatusCode,
};
use axum_extra::extract::QueryRejection;

use crate::http::error::ApiError;

/// Converts rejections by their status. The literal is the problem's code for 422.
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
        // Only the cause: the framework's sentence before it adds nothing.
        let cause = std::error::Error::source(&rejection).map(ToString::to_string);
        ApiError::Invalid(
            "invalid_parameter",
            cause.unwrap_or_else(|| rejection.body_text()),
        )
    }
}
