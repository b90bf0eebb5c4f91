//! The origins whose pages may use the service from a browser, and the host names that the service
//! answers to. Of the headers checked here, programs other than browsers send only Host.

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

/// Browsers send this header to localhost and over TLS: it states if the sending page has the
/// service's origin.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The service's own origin, and the other origins that may use it.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    /// The origin under which browsers reach the service, if it is configured.
    pub public: Option<String>,
    /// Other origins whose pages may use it; `*` allows any.
    pub allowed: Vec<String>,
}

impl Origins {
    /// Returns the allowed origins for the CORS middleware.
    pub(crate) fn cors(&self) -> AllowOrigin {
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

    /// Returns the origin of the page that sent a request, if it is neither the service's own nor
    /// allowed.
    pub(crate) fn foreign_origin<'a>(
        &self,
        host: &Authority,
        headers: &'a HeaderMap,
    ) -> Option<&'a str> {
        let text = |name| {
            let value = headers.get(name)?;
            Some(value.to_str().unwrap_or("an origin that is not ASCII"))
        };
        let origin = text(ORIGIN);
        let own = match (text(SEC_FETCH_SITE), origin) {
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

    /// Returns true if an outsider cannot make this host name point to the service. An outsider can
    /// point a domain of their own to any address; for a browser, their page then has the service's
    /// origin.
    pub(crate) fn is_local(&self, host: &Authority) -> bool {
        let name = host.host();
        let address = name.trim_start_matches('[').trim_end_matches(']');
        let configured = self.allowed.iter().chain(&self.public);
        let mut configured =
            configured.filter_map(|origin| authority(origin)?.parse::<Authority>().ok());
        address.parse::<IpAddr>().is_ok()
            || !name.contains('.')
            || name.ends_with(".localhost")
            || self.allows("*")
            || configured.any(|of| of.host().eq_ignore_ascii_case(name))
    }
}

/// Returns the host and port of an origin.
fn authority(origin: &str) -> Option<&str> {
    Some(origin.split_once("://")?.1)
}

/// Returns the host name and port to which a request was sent.
pub(crate) fn request_host(request: &Request) -> Result<Authority, ApiError> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (first, others) = (hosts.next(), hosts.count());
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
            "the request {wrong}; send one, such as `Host: localhost:8080`"
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
    fn headers_that_browsers_send_show_foreign_pages() {
        let foreign = |host: &str, site: &str, origin: &str| {
            let mut headers = HeaderMap::new();
            let sent = [(SEC_FETCH_SITE, site), (ORIGIN, origin)].into_iter();
            headers.extend(
                sent.filter(|(_, value)| !value.is_empty())
                    .map(|(name, value)| (name, value.parse().unwrap())),
            );
            origins()
                .foreign_origin(&host.parse().unwrap(), &headers)
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
            // A page in a sandbox, or behind a redirect.
            ("cross-site", "null", true),
            ("cross-site", "", true),
            ("cross-site", "https://shop.example", false),
            // Without TLS a browser sends only the origin.
            ("", "http://localhost:8080", false),
            ("", "http://localhost:3000", true),
            ("", "http://evil.example", true),
            ("", "null", true),
            ("", "https://shop.example", false),
            // A proxy replaces the name in Host.
            ("", "https://photos.example", false),
            ("", "http://photos.example", true),
        ] {
            assert_eq!(foreign(here, site, origin), is_foreign, "{site} {origin}");
        }
        assert!(!foreign("photos.lan", "", "http://photos.lan"));
        assert!(!foreign("photos.lan", "", "https://photos.lan"));
    }

    #[test]
    fn names_that_an_outsider_cannot_register_are_local() {
        for (host, local) in [
            ("localhost:8080", true),
            ("LOCALHOST", true),
            ("app.localhost", true),
            ("127.0.0.1:8080", true),
            ("192.168.1.5:8080", true),
            ("[::1]:8080", true),
            // The name of a container or a machine.
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
