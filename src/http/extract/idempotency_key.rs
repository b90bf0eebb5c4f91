//! The header `idempotency-key` of requests that create jobs.

use axum::{extract::FromRequestParts, http::request};

use crate::http::error::ApiError;

const HEADER: &str = "idempotency-key";
/// Maximum number of characters of a key.
const MAX_CHARS: usize = 200;

/// The idempotency key of a request, if it has one.
pub(crate) struct IdempotencyKey(pub Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut request::Parts, _: &S) -> Result<Self, ApiError> {
        let key = parts.headers.get(HEADER);
        let key = key.map(|key| key.to_str().unwrap_or_default());
        let fits = |key: &str| {
            (1..=MAX_CHARS).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if key.is_none_or(fits) {
            return Ok(IdempotencyKey(key.map(str::to_owned)));
        }
        let detail = format!("an idempotency key is 1 to {MAX_CHARS} visible ASCII characters");
        Err(ApiError::Invalid("invalid_parameter", detail))
    }
}
