//! The limits of labels and payloads, and the errors that name them. They hold for uploads and
//! imports alike.

use serde_json::Value;

use crate::index::nfc;

/// Maximum number of labels per image.
pub const MAX_LABELS: usize = 32;
/// Maximum number of characters per label: the maximum length of a folder's name, because a
/// folder's name may become a label.
const MAX_LABEL_CHARS: usize = 255;
const MAX_PAYLOAD_BYTES: usize = 16 << 10;
/// Responses nest payloads further, and JSON parsers commonly refuse a depth of 128.
const MAX_PAYLOAD_DEPTH: usize = 100;

#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    #[error("there are {found} labels; at most {MAX_LABELS} are kept")]
    Labels { found: usize },
    /// An empty label, or one that is too long.
    #[error("a label has {found} characters; a label has 1 to {MAX_LABEL_CHARS}")]
    Label { found: usize },
    #[error("the payload has {found} bytes as JSON; at most {MAX_PAYLOAD_BYTES} are kept")]
    Payload { found: usize },
    #[error(
        "the payload has the integer {found}; integers of more than 64 bits would be rounded, so send it as a string"
    )]
    Integer {
        /// At most the first 40 characters of the integer.
        found: String,
    },
    #[error("the payload is nested {found} deep; at most {MAX_PAYLOAD_DEPTH} are kept")]
    Depth { found: usize },
}

/// Refuses labels of one image if there are too many, or if one is empty or too long.
///
/// # Errors
/// [`LimitError::Labels`], [`LimitError::Label`].
pub fn check_labels(labels: &[String]) -> Result<(), LimitError> {
    match labels.len() {
        found if found > MAX_LABELS => Err(LimitError::Labels { found }),
        _ => check_each_label(labels),
    }
}

/// Refuses labels if one is empty or too long.
///
/// # Errors
/// [`LimitError::Label`].
pub fn check_each_label(labels: &[String]) -> Result<(), LimitError> {
    let mut lengths = labels.iter().map(|label| nfc(label).chars().count());
    match lengths.find(|length| !(1..=MAX_LABEL_CHARS).contains(length)) {
        Some(found) => Err(LimitError::Label { found }),
        None => Ok(()),
    }
}

/// Refuses a payload that is too large or nested too deep.
///
/// # Errors
/// [`LimitError::Payload`], [`LimitError::Depth`].
pub fn check_payload(payload: Option<&Value>) -> Result<(), LimitError> {
    let found = payload.map_or(0, |payload| payload.to_string().len());
    if found > MAX_PAYLOAD_BYTES {
        return Err(LimitError::Payload { found });
    }
    match payload.map_or(0, depth) {
        found if found > MAX_PAYLOAD_DEPTH => Err(LimitError::Depth { found }),
        _ => Ok(()),
    }
}

/// Refuses JSON with an integer of more than 64 bits. Reads the text, because the parser rounds
/// such integers to floating point.
///
/// # Errors
/// [`LimitError::Integer`].
pub fn check_integers(json: &str) -> Result<(), LimitError> {
    let mut rest = json.trim_start_matches(|c: char| c != '"' && c != '-' && !c.is_ascii_digit());
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '"' => string_end(rest),
            _ => rest
                .find(|c: char| !(c.is_ascii_digit() || "+-.eE".contains(c)))
                .unwrap_or(rest.len()),
        };
        let (token, after) = rest.split_at(end);
        let is_integer = first != '"' && !token.contains(['.', 'e', 'E']);
        if is_integer && token.parse::<i64>().is_err() && token.parse::<u64>().is_err() {
            let found = token.chars().take(40).collect();
            return Err(LimitError::Integer { found });
        }
        rest = after.trim_start_matches(|c: char| c != '"' && c != '-' && !c.is_ascii_digit());
    }
    Ok(())
}

/// Returns the offset behind the JSON string that `json` begins with.
fn string_end(json: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in json.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    json.len()
}

/// Returns the nesting depth of arrays and objects. The parser has already limited it.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_that_would_be_rounded_are_found_and_nothing_else() {
        for (json, wide) in [
            ("18446744073709551615", false),
            ("[-9223372036854775808, -0, 0]", false),
            ("18446744073709551616", true),
            (r#"{"a": [1, {"b": -9223372036854775809}]}"#, true),
            (r#"{"99999999999999999999": "99999999999999999999"}"#, false),
            (r#"["\"", 99999999999999999999]"#, true),
            (r#"["\\", 1, "\\\"", 2]"#, false),
            ("[1e400, 99999999999999999999.0, 1e-7]", false),
            ("nullnull", false),
            ("\"", false),
        ] {
            assert_eq!(check_integers(json).is_err(), wide, "{json}");
        }
    }
}
