//! Conditions of requests: the tag that an answer with an image's record has, and the tags that a write asks for.
//! Knows the form of entity tags (RFC 9110, 8.8.3); neither what one stands for nor when it holds.

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, header, request},
};

use crate::{
    http::error::ApiError,
    index::{Precondition, Revision, Revisions},
};

/// The most bytes of tags that are read, for a write goes into the log with them.
const MOST_BYTES: usize = 8 << 10;

/// What a write asks of the image that it changes: `If-Match` and `If-None-Match`.
pub(crate) struct Preconditions(pub Precondition);

/// The tag of a revision.
pub(crate) fn tag(revision: &Revision) -> String {
    format!("\"{revision}\"")
}

impl<S: Send + Sync> FromRequestParts<S> for Preconditions {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut request::Parts, _: &S) -> Result<Self, ApiError> {
        Ok(Preconditions(Precondition {
            // A weak tag is none of a state, and so no write may rely on it.
            one_of: named(&parts.headers, &header::IF_MATCH, false)?,
            none_of: named(&parts.headers, &header::IF_NONE_MATCH, true)?,
        }))
    }
}

/// The revisions that a header names, where there is one; with `weak` those in weak tags too.
fn named(
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
    let read = Some(text.trim()).filter(|text| text.len() <= MOST_BYTES);
    match read.and_then(|text| tags(text, weak)) {
        Some(revisions) => Ok(Some(revisions)),
        None => Err(ApiError::Malformed(format!(
            "{name} has to be *, or tags in double quotes with commas between, as `etag` has them, of at most {MOST_BYTES} bytes"
        ))),
    }
}

fn tags(text: &str, weak: bool) -> Option<Revisions> {
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
        // What is left out between two commas is nothing.
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
    fn tags_are_read_as_they_may_be_written() {
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
            assert_eq!(tags(text, false), strong, "{text}");
            assert_eq!(tags(text, true), with_weak, "{text}");
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
            assert_eq!(tags(text, true), None, "{text}");
        }
    }
}
