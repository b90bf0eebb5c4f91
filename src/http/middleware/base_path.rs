//! Under which path callers reach the service, if a proxy gives it one of its own: requests may keep it, and addresses in answers have it.
//! Knows paths; neither routes nor what is answered.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, Uri,
        header::LOCATION,
        uri::{InvalidUri, PathAndQuery},
    },
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Redirect, Response},
};

use crate::config::base_path;

/// Where a proxy says which path it took off a request.
const PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

tokio::task_local! {
    /// The base path of the request that is answered.
    static PATH: Arc<str>;
}

/// Under which path the service is reached.
#[derive(Clone, Debug, Default)]
pub struct Base {
    /// The path, such as `/photos`; empty at the root.
    pub path: Arc<str>,
    /// Whether a proxy is believed that says so with each request.
    pub trusts_prefix: bool,
}

/// An address of the service as the caller of the request that is answered reaches it.
pub(crate) fn address(path: &str) -> String {
    let base = PATH.try_with(Arc::clone).unwrap_or_default();
    format!("{base}{path}")
}

impl Base {
    /// Routes as they are reached under it.
    pub(crate) fn of(self, routes: Router) -> Router {
        if self.path.is_empty() && !self.trusts_prefix {
            return routes;
        }
        // Around all, so that a request is routed by what is left of its path.
        Router::new()
            .fallback_service(routes)
            .layer(from_fn_with_state(self, under))
    }

    /// That of a request.
    fn given(&self, headers: &HeaderMap) -> Arc<str> {
        let given = headers.get(PREFIX).filter(|_| self.trusts_prefix);
        let given = given.and_then(|value| base_path(value.to_str().ok()?).ok());
        given.unwrap_or_else(|| self.path.clone())
    }
}

async fn under(State(base): State<Base>, mut request: Request, next: Next) -> Response {
    let base = base.given(request.headers());
    if let Some(rest) = below(&base, request.uri()) {
        let Ok(rest) = rest else {
            // The page's own addresses are relative to it.
            let query = request
                .uri()
                .query()
                .map_or(String::new(), |query| format!("?{query}"));
            return Redirect::temporary(&format!("{base}/{query}")).into_response();
        };
        *request.uri_mut() = rest;
    }
    let mut response = PATH.scope(base.clone(), next.run(request)).await;
    if let Some(location) = response.headers().get(LOCATION)
        && let Some(path) = location.to_str().ok().filter(|path| path.starts_with('/'))
        && let Ok(location) = HeaderValue::from_str(&format!("{base}{path}"))
    {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// An address without the base path, if it has it; an error if there is nothing else.
fn below(base: &str, uri: &Uri) -> Option<Result<Uri, ()>> {
    let rest = uri.path_and_query()?.as_str().strip_prefix(base)?;
    if base.is_empty() || !(rest.is_empty() || rest.starts_with(['/', '?'])) {
        return None;
    }
    let parse = |rest: &str| -> Result<Uri, InvalidUri> {
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = Some(rest.parse::<PathAndQuery>()?);
        Ok(Uri::from_parts(parts).unwrap_or_default())
    };
    match rest.starts_with('/') {
        true => parse(rest).ok().map(Ok),
        false => Some(Err(())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_a_base_is_told_from_what_only_begins_like_it() {
        let rest = |uri: &str| below("/a", &uri.parse().unwrap());
        assert_eq!(
            rest("/a/images?x=/a"),
            Some(Ok("/images?x=/a".parse().unwrap()))
        );
        assert_eq!(rest("/a/"), Some(Ok("/".parse().unwrap())));
        assert_eq!([rest("/a"), rest("/a?x")], [Some(Err(())), Some(Err(()))]);
        assert_eq!(
            [rest("/ab"), rest("/images"), rest("/")],
            [None, None, None]
        );
    }
}
