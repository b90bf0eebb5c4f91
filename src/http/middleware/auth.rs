//! Lets a request through if its key's role may make it.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};

use crate::http::{error::ApiError, keys::Role, state::AppState};

/// Turns away whoever lacks the key that a request needs, or uses it too often.
pub(crate) async fn guard(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let keys = &state.parts().keys;
    let needed = Role::needed(request.method(), request.uri().path());
    if let Some(needed) = needed.filter(|_| !keys.is_empty()) {
        let given = request.headers().get(axum::http::header::AUTHORIZATION);
        let key = given
            .and_then(|value| value.to_str().ok()?.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .and_then(|(_, text)| keys.find(text.trim()));
        let Some(key) = key else {
            let peer = request.extensions().get().copied();
            return Err(match given {
                Some(_) => keys.refuse(peer).await,
                None => ApiError::NoKey { given: false },
            });
        };
        if key.role < needed {
            let has = key.role.name();
            let needs = needed.name();
            return Err(ApiError::WrongRole { has, needs });
        }
        key.take()?;
    }
    Ok(next.run(request).await)
}
