//! Files that lie in the program, as they are answered: each compressed once, and sent once to whoever keeps it.
//! Knows bytes and headers; neither routes nor what the files are for.

use std::{
    borrow::Cow,
    collections::HashMap,
    io::Write,
    sync::{Arc, LazyLock, Mutex, PoisonError},
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
use sha2::{Digest, Sha256};

use crate::http::routes::content::known;

/// A file in the program.
pub(crate) struct Asset {
    /// What is in it.
    bytes: Bytes,
    /// The same, compressed, if that is shorter.
    packed: Option<Bytes>,
    /// The start of its SHA-256 in quotes.
    tag: String,
    media_type: String,
}

/// All that were asked for, by path. There are no more than files in the program.
static ASSETS: LazyLock<Mutex<HashMap<String, Arc<Asset>>>> = LazyLock::new(Mutex::default);

impl Asset {
    /// The file at a path of this service, which `load` reads with its media type the first time; none if there is none.
    pub fn at(
        path: &str,
        load: impl FnOnce() -> Option<(Cow<'static, [u8]>, String)>,
    ) -> Option<Arc<Self>> {
        let mut assets = ASSETS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asset) = assets.get(path) {
            return Some(asset.clone());
        }
        let (bytes, media_type) = load()?;
        let asset = Arc::new(Asset::new(bytes, media_type));
        assets.insert(path.to_owned(), asset.clone());
        Some(asset)
    }

    fn new(bytes: Cow<'static, [u8]>, media_type: String) -> Self {
        let bytes = match bytes {
            Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            Cow::Owned(bytes) => Bytes::from(bytes),
        };
        let digest = Sha256::digest(&bytes);
        let tag: String = digest[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let mut packer = GzEncoder::new(Vec::new(), Compression::best());
        let packed = packer.write_all(&bytes).and_then(|()| packer.finish());
        let packed = packed.ok().map(Bytes::from);
        Asset {
            packed: packed.filter(|packed| packed.len() < bytes.len()),
            bytes,
            tag: format!("\"{tag}\""),
            media_type,
        }
    }

    /// The answer to a request with these headers.
    pub fn answer(&self, headers: &HeaderMap) -> Response {
        let mut response = self.response(headers);
        response.extensions_mut().insert(OfAsset);
        response
    }

    fn response(&self, headers: &HeaderMap) -> Response {
        let held = [
            (header::ETAG, self.tag.as_str()),
            // Asked for each time, so that a new version is seen at once.
            (header::CACHE_CONTROL, "no-cache"),
            (header::VARY, "accept-encoding"),
        ];
        if known(headers, &self.tag) {
            return (StatusCode::NOT_MODIFIED, held).into_response();
        }
        let about = [
            (header::CONTENT_TYPE, self.media_type.as_str()),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ];
        match self.packed.clone().filter(|_| reads_gzip(headers)) {
            Some(packed) => {
                let packing = [(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))];
                (held, about, packing, packed).into_response()
            }
            None => (held, about, self.bytes.clone()).into_response(),
        }
    }
}

/// Marks what is compressed as far as it ever is.
#[derive(Clone, Copy)]
struct OfAsset;

/// Whether an answer with these extensions is none of an asset's.
pub(crate) fn is_none(_: StatusCode, _: Version, _: &HeaderMap, of: &Extensions) -> bool {
    of.get::<OfAsset>().is_none()
}

/// Whether whoever asks can unpack gzip.
fn reads_gzip(headers: &HeaderMap) -> bool {
    let given = headers.get_all(header::ACCEPT_ENCODING).into_iter();
    let mut codings = given
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
    fn gzip_is_sent_to_whoever_reads_it() {
        for (given, reads) in [
            ("gzip", true),
            ("br, GZIP;q=0.5, deflate", true),
            ("x-gzip", true),
            ("gzip;q=0", false),
            ("gzip; q=0.0", false),
            ("br", false),
            ("", false),
        ] {
            let headers = [(header::ACCEPT_ENCODING, given.parse().unwrap())];
            assert_eq!(reads_gzip(&headers.into_iter().collect()), reads, "{given}");
        }
    }
}
