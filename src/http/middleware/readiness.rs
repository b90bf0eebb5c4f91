//! Opens the routes only while the service is ready.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};

use crate::http::{error::ApiError, state::AppState};

/// Refuses requests while the service is not ready.
pub(crate) async fn require_ready(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if !state.is_ready() {
        return Err(ApiError::NotReady);
    }
    Ok(next.run(request).await)
}
