//! What may be kept with an image: how many labels, how long, and how large a payload.
//! Knows limits and how a failure reads; neither images nor routes.

use serde_json::Value;

use super::error::ApiError;

const MAX_LABELS: usize = 32;
const MAX_LABEL_CHARS: usize = 100;
const MAX_PAYLOAD_BYTES: usize = 16 << 10;
/// Answers wrap payloads, and JSON parsers commonly give up at a depth of 128.
const MAX_PAYLOAD_DEPTH: usize = 100;

/// Refuses an image's labels that are too many, empty or too long.
pub(super) fn check_labels(labels: &[String]) -> Result<(), ApiError> {
    if labels.len() > MAX_LABELS {
        let detail = format!(
            "there are {} labels; at most {MAX_LABELS} are kept",
            labels.len()
        );
        return Err(ApiError::Invalid("invalid_label", detail));
    }
    check_each_label(labels)
}

/// Refuses a label that is empty or too long.
pub(super) fn check_each_label(labels: &[String]) -> Result<(), ApiError> {
    let mut lengths = labels.iter().map(|label| label.chars().count());
    match lengths.find(|length| !(1..=MAX_LABEL_CHARS).contains(length)) {
        Some(length) => {
            let detail =
                format!("a label has {length} characters; a label has 1 to {MAX_LABEL_CHARS}");
            Err(ApiError::Invalid("invalid_label", detail))
        }
        None => Ok(()),
    }
}

/// Refuses a payload that is too large or nested too deep.
pub(super) fn check_payload(payload: Option<&Value>) -> Result<(), ApiError> {
    let bytes = payload.map_or(0, |payload| payload.to_string().len());
    if bytes > MAX_PAYLOAD_BYTES {
        let detail =
            format!("the payload has {bytes} bytes as JSON; at most {MAX_PAYLOAD_BYTES} are kept");
        return Err(ApiError::Invalid("invalid_payload", detail));
    }
    let depth = payload.map_or(0, depth);
    if depth > MAX_PAYLOAD_DEPTH {
        let detail =
            format!("the payload is nested {depth} deep; at most {MAX_PAYLOAD_DEPTH} are kept");
        return Err(ApiError::Invalid("invalid_payload", detail));
    }
    Ok(())
}

/// How many arrays and objects stand within each other. The parser has bounded it already.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
