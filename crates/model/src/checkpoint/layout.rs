//! The contents that a card promises: the range of each number, and the name and shape of every
//! tensor. The file's header is compared with it before a network is built, so that a small file
//! cannot create a large network.

use std::{collections::BTreeMap, ops::RangeInclusive};

use scihcgrl_index::Sketch;

use crate::{
    card::Card,
    network::{policy, sketcher::TONES},
};

/// Allowed entries of a policy's hidden state. With 2048, loading a policy of three lengths takes
/// 350 MB.
pub const HIDDEN_RANGE: RangeInclusive<i64> = 1..=2048;
/// Allowed sides of a network's input, in pixels. Encoding an image with side 512 takes 50 MB. Each
/// doubling takes four times as much.
pub const SIDE_RANGE: RangeInclusive<u32> = 32..=512;
/// Allowed passes of a policy.
const PASSES_RANGE: RangeInclusive<usize> = 1..=16;

/// Refuses a card with a number out of range.
pub(crate) fn check(card: &Card) -> Result<(), String> {
    let ascending = card.lengths.is_sorted_by(|one, next| one < next);
    if card.lengths.is_empty() || !ascending {
        return Err("`lengths` must name at least one length, each once, ascending".to_owned());
    }
    let classes = card.classes.len();
    for length in &card.lengths {
        let centers = card.centers.get(length).map_or(0, Vec::len);
        if centers != classes {
            return Err(format!(
                "it has {centers} hash centres of {length} bits for {classes} classes"
            ));
        }
    }
    check_range("hidden", card.policy.hidden, &HIDDEN_RANGE, "takes 350 MB")?;
    check_range(
        "input_size",
        card.input_size,
        &SIDE_RANGE,
        "takes 50 MB per image",
    )?;
    check_range(
        "passes",
        card.policy.passes,
        &PASSES_RANGE,
        "takes 16 times as long as 1",
    )?;
    let sketch = card.sketch.unwrap_or(Sketch::MAX_BYTES);
    check_range(
        "sketch",
        sketch,
        &(TONES + 1..=Sketch::MAX_BYTES),
        "is the most that the index stores",
    )
}

fn check_range<T: PartialOrd + std::fmt::Display>(
    name: &str,
    found: T,
    range: &RangeInclusive<T>,
    reason: &str,
) -> Result<(), String> {
    let (least, largest) = (range.start(), range.end());
    if range.contains(&found) {
        Ok(())
    } else {
        Err(format!(
            "`{name}` is {found}; it must be {least} to {largest}, which {reason}"
        ))
    }
}

/// Returns the name and shape of every tensor of a card's network.
pub(crate) fn shapes(card: &Card) -> BTreeMap<String, Vec<i64>> {
    let (feature, backbone) = card.backbone.shapes();
    let mut shapes = BTreeMap::new();
    let mut add = |part: &str, name: &str, shape: &[i64]| {
        shapes.insert(format!("{part}.{name}"), shape.to_vec());
    };
    for (name, shape) in &backbone {
        add("backbone", name, shape);
    }
    add("policy", "feature_mean", &[feature]);
    add("policy", "feature_deviation", &[feature]);
    for length in &card.lengths {
        let head = policy::shapes(feature, &card.policy, *length);
        for (name, shape) in head {
            add("policy", &format!("{length}.{name}"), &shape);
        }
    }
    if let Some(classes) = card.policy.classifier {
        let longest = card.lengths.iter().map(|length| length.bits()).max();
        let (heads, bits) = (card.lengths.len() as i64, longest.unwrap_or(0) as i64);
        let seen = feature.saturating_add(classes);
        add("classifier", "weight", &[classes, feature]);
        add("classifier", "bias", &[classes]);
        add("classifier", "mean", &[seen]);
        add("classifier", "map", &[heads, seen, bits]);
    }
    if let Some(bytes) = card.sketch {
        let projected = bytes.saturating_sub(TONES) as i64;
        add("sketch", "mean", &[feature]);
        add("sketch", "projection", &[feature, projected]);
        add("sketch", "deviation", &[TONES as i64]);
    }
    shapes
}
