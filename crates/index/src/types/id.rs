//! Image ids and original keys, and the Unicode form of stored text.

use std::{borrow::Cow, fmt, str::FromStr};

use icu_normalizer::ComposingNormalizerBorrowed;
use serde::{Deserialize, Serialize};

/// Converts text to Unicode NFC, the form in which ids and labels are stored.
pub fn nfc(text: &str) -> Cow<'_, str> {
    ComposingNormalizerBorrowed::new_nfc().normalize(text)
}

/// Normalises labels: NFC, without duplicates, in the given order.
pub fn labels(given: Vec<String>) -> Vec<String> {
    let mut labels: Vec<String> = Vec::with_capacity(given.len());
    for label in given {
        let label = nfc(&label).into_owned();
        if !labels.contains(&label) {
            labels.push(label);
        }
    }
    labels
}

/// The id of an image: 1 to 800 bytes of text in Unicode NFC, without control characters and
/// slashes, and neither "." nor "..".
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ImageId(pub(crate) String);

impl ImageId {
    /// The maximum length of an id in bytes.
    const MAX_BYTES: usize = 800;

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<ImageId> for String {
    fn from(id: ImageId) -> Self {
        id.0
    }
}

impl TryFrom<String> for ImageId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl FromStr for ImageId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let text = nfc(text);
        let rule = if !(1..=Self::MAX_BYTES).contains(&text.len()) {
            format!(
                "it has {} bytes; an id has 1 to {}",
                text.len(),
                Self::MAX_BYTES
            )
        } else if let Some(wrong) = text.chars().find(|c| c.is_control() || *c == '/') {
            format!("{wrong:?} is not allowed; an id has neither control characters nor slashes")
        } else if matches!(&*text, "." | "..") {
            "it would be a step in a path; an id is not . or ..".to_owned()
        } else {
            return Ok(ImageId(text.into_owned()));
        };
        Err(InvalidId {
            found: text.chars().take(40).collect(),
            rule,
        })
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Text that is not a valid image id, and the rule that it breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not an image id: {rule}")]
pub struct InvalidId {
    /// The first 40 characters of the text.
    pub found: String,
    /// The rule, in words.
    pub rule: String,
}

/// The number of keys in a block. Keys are allocated by the block, so most allocations do not wait
/// for the disk.
pub const BLOCK_KEYS: u64 = 256;

/// The number under which an original is kept. A store never uses a key twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OriginalKey(u64);

impl OriginalKey {
    /// The block that the key belongs to.
    pub(crate) fn block(self) -> u64 {
        self.0 / BLOCK_KEYS
    }

    /// The index of the key within its block.
    pub(crate) fn slot(self) -> u64 {
        self.0 % BLOCK_KEYS
    }

    /// The keys of a block.
    pub(crate) fn of_block(block: u64) -> impl Iterator<Item = OriginalKey> {
        (block * BLOCK_KEYS..(block + 1) * BLOCK_KEYS).map(OriginalKey)
    }
}

/// Formats the key as a path in hexadecimal: the block, a slash, the index within the block.
impl fmt::Display for OriginalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}/{:02x}", self.block(), self.slot())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_id_is_refused_with_the_rule_that_it_breaks() {
        let error = |text: &str| text.parse::<ImageId>().unwrap_err().to_string();
        assert!(error("").contains("1 to 800"));
        assert!(error("a/b").contains("'/' is not allowed"));
        assert!(error("..").contains("path"));
        assert!(error("a\nb").contains("'\\n' is not allowed"));
        assert!(error(&"é".repeat(401)).contains("802 bytes"));
        assert!(error(&"x".repeat(9_000)).len() < 150);
        for id in [
            "a",
            "...",
            "A~b:c@d-e_f.9",
            "100 % of it?#\\",
            "猫の写真",
            &"é".repeat(400),
            "0190a5c2-7b8e-7cc1-9d2a-0242ac120002",
        ] {
            assert_eq!(id.parse::<ImageId>().unwrap().as_str(), id);
        }
        let composed: ImageId = "caf\u{e9}".parse().unwrap();
        assert_eq!("cafe\u{301}".parse::<ImageId>().unwrap(), composed);
    }
}
