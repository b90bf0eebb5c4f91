//! Access control: lets a request through if its key has the role that the route needs, and notes
//! its caller.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};

use crate::http::{
    error::ApiError,
    keys::{Caller, Role},
    state::AppState,
};

/// Refuses a request without the key that it needs, or with a key that is used too often.
pub(crate) async fn guard(
    State(state): State<AppState>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let keys = &state.parts().keys;
    let required = Role::required(request.method(), request.uri().path());
    if keys.is_empty() {
        request.extensions_mut().insert(Caller::ANYONE);
    }
    if let Some(required) = required.filter(|_| !keys.is_empty()) {
        let header = request.headers().get(axum::http::header::AUTHORIZATION);
        let key = header
            .and_then(|value| value.to_str().ok()?.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .and_then(|(_, text)| keys.find(text.trim()));
        let Some(key) = key else {
            let peer = request.extensions().get().copied();
            return Err(match header {
                Some(_) => keys.refuse_wrong(peer).await,
                None => ApiError::NoKey { was_sent: false },
            });
        };
        if key.role < required {
            let role = key.role.name();
            let needs = required.name();
            return Err(ApiError::WrongRole { has: role, needs });
        }
        key.check_rate()?;
        let caller = key.caller();
        request.extensions_mut().insert(caller);
    }
    Ok(next.run(request).await)
}
