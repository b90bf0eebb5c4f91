//! Serves files that are built into the program. Each is compressed once, and has an entity tag so
//! that clients can cache it.

use std::{
    borrow::Cow,
    collections::HashMap,
    io::Write,
    sync::{Arc, LazyLock},
};

use axum::{
    http::{
        Extensions, HeaderMap, StatusCode, Version,
        header::{self, HeaderValue},
    },
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::http::routes::content::is_cached;

/// A file built into the program.
pub(crate) struct StaticFile {
    bytes: Bytes,
    /// The same with gzip, if that is shorter.
    packed: Option<Bytes>,
    /// The start of its SHA-256 in quotes.
    tag: String,
    media_type: String,
}

/// All files that were requested, by path; at most those built into the program.
static FILES: LazyLock<Mutex<HashMap<String, Arc<StaticFile>>>> = LazyLock::new(Mutex::default);

impl StaticFile {
    /// Returns the file at a path. `load` returns its content and media type, and is called once a
    /// path.
    pub fn at(
        path: &str,
        load: impl FnOnce() -> Option<(Cow<'static, [u8]>, String)>,
    ) -> Option<Arc<Self>> {
        let mut files = FILES.lock();
        if let Some(file) = files.get(path) {
            return Some(file.clone());
        }
        let (bytes, media_type) = load()?;
        let file = Arc::new(StaticFile::new(bytes, media_type));
        files.insert(path.to_owned(), file.clone());
        Some(file)
    }

    fn new(bytes: Cow<'static, [u8]>, media_type: String) -> Self {
        let bytes = match bytes {
            Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            Cow::Owned(bytes) => Bytes::from(bytes),
        };
        let mut tag = format!("{:x}", Sha256::digest(&bytes));
        tag.truncate(16);
        let mut packer = GzEncoder::new(Vec::new(), Compression::best());
        let packed = packer.write_all(&bytes).and_then(|()| packer.finish());
        let packed = packed.ok().map(Bytes::from);
        StaticFile {
            packed: packed.filter(|packed| packed.len() < bytes.len()),
            bytes,
            tag: format!("\"{tag}\""),
            media_type,
        }
    }

    /// Answers a request with these headers.
    pub fn answer(&self, headers: &HeaderMap) -> Response {
        let mut response = self.response(headers);
        response.extensions_mut().insert(StaticFileMarker);
        response
    }

    fn response(&self, headers: &HeaderMap) -> Response {
        let caching = [
            (header::ETAG, self.tag.as_str()),
            // Revalidated each time, so that a new version appears at once.
            (header::CACHE_CONTROL, "no-cache"),
            (header::VARY, "accept-encoding"),
        ];
        if is_cached(headers, &self.tag) {
            return (StatusCode::NOT_MODIFIED, caching).into_response();
        }
        let about = [
            (header::CONTENT_TYPE, self.media_type.as_str()),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ];
        match self.packed.clone().filter(|_| accepts_gzip(headers)) {
            Some(packed) => {
                let packing = [(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))];
                (caching, about, packing, packed).into_response()
            }
            None => (caching, about, self.bytes.clone()).into_response(),
        }
    }
}

/// Extension of answers that need no further compression.
#[derive(Clone, Copy)]
struct StaticFileMarker;

/// Returns true if an answer is not a static file. A predicate of the compression layer.
pub(crate) fn is_not_static(_: StatusCode, _: Version, _: &HeaderMap, of: &Extensions) -> bool {
    of.get::<StaticFileMarker>().is_none()
}

/// Returns true if the client accepts gzip.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).into_iter();
    let mut codings = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    codings.any(|coding| {
        let (name, quality) = coding.split_once(';').unwrap_or((coding, "q=1"));
        let quality = quality.trim().trim_start_matches("q=");
        // RFC 9110, 8.4.1.3: x-gzip is gzip.
        let is_gzip = ["gzip", "x-gzip"]
            .iter()
            .any(|one| name.trim().eq_ignore_ascii_case(one));
        is_gzip && quality.parse().is_ok_and(|of: f32| of > 0.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_only_to_clients_that_accept_it() {
        for (header, accepts) in [
            ("gzip", true),
            ("br, GZIP;q=0.5, deflate", true),
            ("x-gzip", true),
            ("gzip;q=0", false),
            ("gzip; q=0.0", false),
            ("br", false),
            ("", false),
        ] {
            let headers = [(header::ACCEPT_ENCODING, header.parse().unwrap())];
            assert_eq!(
                accepts_gzip(&headers.into_iter().collect()),
                accepts,
                "{header}"
            );
        }
    }
}
