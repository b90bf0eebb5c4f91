//! The path under which a proxy serves the service: removes it from requests, which need not have
//! it, and adds it to addresses in answers.

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

/// Header in which a proxy sends the path that it removed from a request.
const PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

tokio::task_local! {
    /// The base path of the current request.
    static PATH: Arc<str>;
}

/// The path under which clients reach the service.
#[derive(Clone, Debug, Default)]
pub struct BasePath {
    /// The path, such as `/photos`; empty at the root.
    pub path: Arc<str>,
    /// True if the path is taken from the `x-forwarded-prefix` header of each request.
    pub trusts_prefix: bool,
}

/// Returns a path of the service with the base path of the current request.
pub(crate) fn with_base(path: &str) -> String {
    let base = PATH.try_with(Arc::clone).unwrap_or_default();
    format!("{base}{path}")
}

impl BasePath {
    /// Serves routes under the base path.
    pub(crate) fn wrap(self, routes: Router) -> Router {
        if self.path.is_empty() && !self.trusts_prefix {
            return routes;
        }
        // Around the router, so that it sees the path without the base.
        Router::new()
            .fallback_service(routes)
            .layer(from_fn_with_state(self, handle))
    }

    /// Returns the base path of a request.
    fn of_request(&self, headers: &HeaderMap) -> Arc<str> {
        let prefix = headers.get(PREFIX).filter(|_| self.trusts_prefix);
        let prefix = prefix.and_then(|value| base_path(value.to_str().ok()?).ok());
        prefix.unwrap_or_else(|| self.path.clone())
    }
}

async fn handle(State(base): State<BasePath>, mut request: Request, next: Next) -> Response {
    let base = base.of_request(request.headers());
    if let Some(rest) = strip_base(&base, request.uri()) {
        let Ok(rest) = rest else {
            // The page's own addresses are relative, so its path must end in a slash.
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

/// Removes the base path from an address: none if it has another path, an error if nothing is left.
fn strip_base(base: &str, uri: &Uri) -> Option<Result<Uri, ()>> {
    let rest = uri.path_and_query()?.as_str().strip_prefix(base)?;
    if base.is_empty() || !(rest.is_empty() || rest.starts_with(['/', '?'])) {
        return None;
    }
    let parse = |rest: &str| -> Result<Uri, InvalidUri> {
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = Some(rest.parse::<PathAndQuery>()?);
        Ok(Uri::from_parts(parts).unwrap_or_default())
    };
    if rest.starts_with('/') {
        parse(rest).ok().map(Ok)
    } else {
        Some(Err(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_below_the_base_lose_it() {
        let rest = |uri: &str| strip_base("/a", &uri.parse().unwrap());
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
