//! From which pages a browser may use the service, and under which names it is reached. Programs send no header that is looked at but Host.
//! Knows origins; neither keys nor routes.

use std::net::IpAddr;

use axum::{
    extract::Request,
    http::{
        HeaderMap, HeaderName,
        header::{HOST, ORIGIN},
        uri::Authority,
    },
};
use tower_http::cors::AllowOrigin;

use crate::http::error::ApiError;

/// Says whether a request comes from a page of the same origin. Browsers send it to localhost and over TLS.
const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Which origins are the service's own, and which others may use it.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    /// Where callers reach the service, as an origin, if it was said.
    pub public: Option<String>,
    /// Others whose pages may use it; `*` is any.
    pub allowed: Vec<String>,
}

impl Origins {
    /// The same for pages that want to see answers.
    pub(crate) fn layer(&self) -> AllowOrigin {
        if self.allows("*") {
            return AllowOrigin::any();
        }
        let allowed = self.allowed.iter();
        AllowOrigin::list(allowed.filter_map(|origin| origin.parse().ok()))
    }

    pub(crate) fn allows(&self, origin: &str) -> bool {
        let mut allowed = self.allowed.iter();
        allowed.any(|one| one == "*" || one.eq_ignore_ascii_case(origin))
    }

    /// The page that a request comes from, if it is neither the service's own nor one that may use it.
    pub(crate) fn foreign<'a>(&self, host: &Authority, headers: &'a HeaderMap) -> Option<&'a str> {
        let text = |name| {
            let value = headers.get(name)?;
            Some(value.to_str().unwrap_or("an origin that is not ASCII"))
        };
        let origin = text(ORIGIN);
        let own = match (text(SITE), origin) {
            (Some(site), _) => ["same-origin", "none"].contains(&site),
            (None, Some(origin)) => {
                let is_public = self.public.as_deref() == Some(origin);
                is_public || authority(origin).is_some_and(|of| of == host.as_str())
            }
            (None, None) => true,
        };
        let origin = origin.unwrap_or("another site");
        (!own && !self.allows(origin)).then_some(origin)
    }

    /// Whether a page can have no such name unless whoever runs the service, or its network, gave it: an outsider can let a name of his own stand
    /// for any address, and his page is then of the service's origin for a browser.
    pub(crate) fn is_local(&self, host: &Authority) -> bool {
        let name = host.host();
        let address = name.trim_start_matches('[').trim_end_matches(']');
        let given = self.allowed.iter().chain(&self.public);
        let mut given = given.filter_map(|origin| authority(origin)?.parse::<Authority>().ok());
        address.parse::<IpAddr>().is_ok()
            || !name.contains('.')
            || name.ends_with(".localhost")
            || self.allows("*")
            || given.any(|of| of.host().eq_ignore_ascii_case(name))
    }
}

/// Host and port of an origin.
fn authority(origin: &str) -> Option<&str> {
    Some(origin.split_once("://")?.1)
}

/// Under which name a request reached the service.
pub(crate) fn host(request: &Request) -> Result<Authority, ApiError> {
    let mut given = request.headers().get_all(HOST).iter();
    let (first, others) = (given.next(), given.count());
    let host = match (request.uri().authority(), first) {
        (Some(authority), _) => Some(authority.clone()),
        (None, Some(host)) => host.to_str().ok().and_then(|host| host.parse().ok()),
        (None, None) => None,
    };
    host.filter(|_| others == 0).ok_or_else(|| {
        let wrong = match (first, others) {
            (None, _) => "has no Host header",
            (Some(_), 0) => "has a Host header that is not a host",
            _ => "has more than one Host header",
        };
        ApiError::Malformed(format!(
            "the request {wrong}; one such as `Host: localhost:8080` is needed"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins() -> Origins {
        Origins {
            public: Some("https://photos.example".to_owned()),
            allowed: vec!["https://shop.example".to_owned()],
        }
    }

    #[test]
    fn a_page_is_foreign_by_what_browsers_send() {
        let foreign = |host: &str, site: &str, origin: &str| {
            let mut headers = HeaderMap::new();
            let given = [(SITE, site), (ORIGIN, origin)].into_iter();
            headers.extend(
                given
                    .filter(|(_, value)| !value.is_empty())
                    .map(|(name, value)| (name, value.parse().unwrap())),
            );
            origins()
                .foreign(&host.parse().unwrap(), &headers)
                .is_some()
        };
        let here = "localhost:8080";
        for (site, origin, is_foreign) in [
            // curl and programs.
            ("", "", false),
            ("same-origin", "http://localhost:8080", false),
            // Typed into the address bar.
            ("none", "", false),
            ("cross-site", "https://evil.example", true),
            ("same-site", "http://localhost:3000", true),
            // A page that a sandbox or a redirect hides.
            ("cross-site", "null", true),
            ("cross-site", "", true),
            ("cross-site", "https://shop.example", false),
            // Without TLS a browser sends the origin alone.
            ("", "http://localhost:8080", false),
            ("", "http://localhost:3000", true),
            ("", "http://evil.example", true),
            ("", "null", true),
            ("", "https://shop.example", false),
            // A proxy puts another name for the service's into Host.
            ("", "https://photos.example", false),
            ("", "http://photos.example", true),
        ] {
            assert_eq!(foreign(here, site, origin), is_foreign, "{site} {origin}");
        }
        assert!(!foreign("photos.lan", "", "http://photos.lan"));
        assert!(!foreign("photos.lan", "", "https://photos.lan"));
    }

    #[test]
    fn names_that_an_outsider_cannot_give_are_local() {
        for (host, local) in [
            ("localhost:8080", true),
            ("LOCALHOST", true),
            ("app.localhost", true),
            ("127.0.0.1:8080", true),
            ("192.168.1.5:8080", true),
            ("[::1]:8080", true),
            // A container's or a machine's.
            ("scihcgrl:8080", true),
            ("photos.example", true),
            ("PHOTOS.example:8443", true),
            ("shop.example", true),
            ("evil.example:8080", false),
            ("127.0.0.1.evil.example", false),
            ("localhost.evil.example", false),
        ] {
            assert_eq!(origins().is_local(&host.parse().unwrap()), local, "{host}");
        }
    }
}
