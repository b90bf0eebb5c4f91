//! Refuses requests that pages of other origins send.

use axum::{
    extract::{Request, State},
    http::Method,
    middleware::Next,
    response::Response,
};

use crate::http::{error::ApiError, middleware::trace, origins, state::AppState};

/// Turns away what pages of other origins send, but for what only reads; CORS decides whether they may see it. Without keys it also turns away
/// what comes under a name that an outsider may have given to this service's address.
pub(crate) async fn guard(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let parts = state.parts();
    let host = origins::host(&request)?;
    if parts.keys.is_empty() && !parts.origins.is_local(&host) {
        return Err(ApiError::ForeignHost(
            trace::start(host.as_str()).to_owned(),
        ));
    }
    let reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    if let Some(origin) = parts
        .origins
        .foreign(&host, request.headers())
        .filter(|_| !reads)
    {
        return Err(ApiError::ForeignPage(trace::start(origin).to_owned()));
    }
    Ok(next.run(request).await)
}
