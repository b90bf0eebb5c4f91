//! Refuses requests from pages of other origins, and requests to host names that are not the
//! service's.

use axum::{
    extract::{Request, State},
    http::Method,
    middleware::Next,
    response::Response,
};

use crate::http::{error::ApiError, middleware::trace, origins, state::AppState};

/// Refuses requests from pages of other origins, except reads: CORS decides if such a page may see
/// the answer. Without keys, also refuses requests to a name that an outsider may have pointed at
/// this service's address.
pub(crate) async fn guard(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let parts = state.parts();
    let host = origins::request_host(&request)?;
    if parts.keys.is_empty() && !parts.origins.is_local(&host) {
        return Err(ApiError::ForeignHost(
            trace::shorten(host.as_str()).to_owned(),
        ));
    }
    let reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    if let Some(origin) = parts
        .origins
        .foreign_origin(&host, request.headers())
        .filter(|_| !reads)
    {
        return Err(ApiError::ForeignPage(trace::shorten(origin).to_owned()));
    }
    Ok(next.run(request).await)
}
