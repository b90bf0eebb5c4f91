//! What may be kept with an image, wherever it comes from: how many labels, how long, and how large a payload.
//! Knows limits and how a failure reads; neither images nor who asks.

use serde_json::Value;

/// The most labels of an image.
pub const MAX_LABELS: usize = 32;
const MAX_LABEL_CHARS: usize = 100;
const MAX_PAYLOAD_BYTES: usize = 16 << 10;
/// Answers wrap payloads, and JSON parsers commonly give up at a depth of 128.
const MAX_PAYLOAD_DEPTH: usize = 100;

/// Why labels or a payload are not kept.
#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    /// Too many labels.
    #[error("there are {found} labels; at most {MAX_LABELS} are kept")]
    Labels {
        /// How many.
        found: usize,
    },
    /// An empty label, or one that is too long.
    #[error("a label has {found} characters; a label has 1 to {MAX_LABEL_CHARS}")]
    Label {
        /// How many characters.
        found: usize,
    },
    /// A payload that is too large.
    #[error("the payload has {found} bytes as JSON; at most {MAX_PAYLOAD_BYTES} are kept")]
    Payload {
        /// How many bytes.
        found: usize,
    },
    /// A payload that is nested too deep.
    #[error("the payload is nested {found} deep; at most {MAX_PAYLOAD_DEPTH} are kept")]
    Depth {
        /// How deep.
        found: usize,
    },
}

/// Refuses an image's labels that are too many, empty or too long.
///
/// # Errors
/// [`LimitError::Labels`], [`LimitError::Label`].
pub fn check_labels(labels: &[String]) -> Result<(), LimitError> {
    match labels.len() {
        found if found > MAX_LABELS => Err(LimitError::Labels { found }),
        _ => check_each_label(labels),
    }
}

/// Refuses a label that is empty or too long.
///
/// # Errors
/// [`LimitError::Label`].
pub fn check_each_label(labels: &[String]) -> Result<(), LimitError> {
    let mut lengths = labels.iter().map(|label| label.chars().count());
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

/// How many arrays and objects stand within each other. The parser has bounded it already.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
