//! Text that people type: what looks the same is the same, whichever of Unicode's forms a keyboard or a file system has.
//! Knows nothing of what the text names.

use std::borrow::Cow;

use icu_normalizer::ComposingNormalizerBorrowed;

/// A text in Unicode's form NFC, as ids and labels are kept.
pub fn nfc(text: &str) -> Cow<'_, str> {
    ComposingNormalizerBorrowed::new_nfc().normalize(text)
}

/// Labels as they are kept: in NFC, each once, in the order given.
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
