//! Entity tags (RFC 9110, 8.8.3): writes the tag of a record, and parses the preconditions of
//! requests. The index checks them.

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, header, request},
};

use crate::{
    http::error::ApiError,
    index::{Precondition, Revision, Revisions},
};

/// Maximum number of bytes of a header with tags, because they are stored in the log with the
/// write.
const MAX_BYTES: usize = 8 << 10;

/// The preconditions of a write: `If-Match` and `If-None-Match`.
pub(crate) struct Preconditions(pub Precondition);

/// Returns the tag of a revision.
pub(crate) fn etag(revision: &Revision) -> String {
    format!("\"{revision}\"")
}

impl<S: Send + Sync> FromRequestParts<S> for Preconditions {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut request::Parts, _: &S) -> Result<Self, ApiError> {
        Ok(Preconditions(Precondition {
            // A weak tag does not identify one state, so a write cannot rely on it.
            one_of: revisions_in(&parts.headers, &header::IF_MATCH, false)?,
            none_of: revisions_in(&parts.headers, &header::IF_NONE_MATCH, true)?,
            passes: None,
        }))
    }
}

/// Returns the revisions in a header, or none without the header. Includes weak tags if `weak`.
fn revisions_in(
    headers: &HeaderMap,
    name: &HeaderName,
    weak: bool,
) -> Result<Option<Revisions>, ApiError> {
    let values: Vec<_> = headers
        .get_all(name)
        .into_iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect();
    if values.is_empty() {
        return Ok(None);
    }
    let text = values.join(",");
    let read = Some(text.trim()).filter(|text| text.len() <= MAX_BYTES);
    match read.and_then(|text| parse_tags(text, weak)) {
        Some(revisions) => Ok(Some(revisions)),
        None => Err(ApiError::Malformed(format!(
            "{name} must be * or a list of tags as in `etag`, in double quotes and separated by commas, of at most {MAX_BYTES} bytes"
        ))),
    }
}

fn parse_tags(text: &str, weak: bool) -> Option<Revisions> {
    if text == "*" {
        return Some(Revisions::Any);
    }
    let (mut named, mut any, mut rest) = (Vec::new(), false, text);
    let blank = [' ', '\t'];
    while !rest.is_empty() {
        let (is_weak, quoted) = match rest.strip_prefix("W/") {
            Some(quoted) => (true, quoted),
            None => (false, rest),
        };
        // An element of a list may be empty.
        if !rest.starts_with(',') {
            let (tag, after) = quoted.strip_prefix('"')?.split_once('"')?;
            if tag.contains(|c: char| c.is_ascii() && !c.is_ascii_graphic()) {
                return None;
            }
            any = true;
            named.extend((weak || !is_weak).then(|| tag.to_owned()));
            rest = after.trim_start_matches(blank);
        }
        if !rest.is_empty() {
            rest = rest.strip_prefix(',')?.trim_start_matches(blank);
        }
    }
    any.then_some(Revisions::These(named))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_strong_and_weak_tags_are_parsed() {
        let these = |named: &[&str]| {
            let named = named.iter().map(|tag| (*tag).to_owned());
            Some(Revisions::These(named.collect()))
        };
        for (text, strong, with_weak) in [
            (r#""a""#, these(&["a"]), these(&["a"])),
            (
                r#""a,b" ,W/"c",, "d""#,
                these(&["a,b", "d"]),
                these(&["a,b", "c", "d"]),
            ),
            (r#"W/"""#, these(&[]), these(&[""])),
            ("*", Some(Revisions::Any), Some(Revisions::Any)),
        ] {
            assert_eq!(parse_tags(text, false), strong, "{text}");
            assert_eq!(parse_tags(text, true), with_weak, "{text}");
        }
        for text in [
            "",
            ",",
            "a",
            r#""a"#,
            r#""a" "b""#,
            r#"w/"a""#,
            r#"*, "a""#,
            r#""a b""#,
        ] {
            assert_eq!(parse_tags(text, true), None, "{text}");
        }
    }
}
