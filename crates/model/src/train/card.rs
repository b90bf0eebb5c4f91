//! Makes the card of a model that is to be trained.

use std::collections::BTreeMap;

use crate::{card::Card, centers, error::ModelError, options::Train};

/// Makes the card of a model that is to be trained.
///
/// # Errors
/// [`ModelError::Classes`] if there are more classes than hash centres.
pub fn card(config: &Train, classes: &[String]) -> Result<Card, ModelError> {
    let mut lengths = config.lengths.clone();
    lengths.sort();
    lengths.dedup();
    let mut centers = BTreeMap::new();
    for &length in &lengths {
        let made = match classes {
            [] => Vec::new(),
            _ => centers::make(config.centers, length, classes.len(), config.seed)?,
        };
        centers.insert(length, made);
    }
    let (mean, deviation) = config.architecture.normalisation();
    Ok(Card {
        backbone: config.architecture,
        policy: config.policy.clone(),
        lengths,
        sketch: None,
        thresholds: None,
        input_size: config.input_size,
        resize: config.resize,
        mean,
        deviation,
        classes: classes.to_vec(),
        centers,
        training: serde_json::Value::Null,
        quality: serde_json::Value::Null,
    })
}
