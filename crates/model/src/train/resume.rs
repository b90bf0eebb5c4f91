//! The state of an unfinished training, in a file next to its checkpoint. A stopped training
//! resumes after its last saved epoch.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tch::{TchError, Tensor};

use crate::{checkpoint, error::ModelError, network::Network, train::error::TrainError};

/// How far a training is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ResumePoint {
    /// The identity of the training: options, objective, classes and number of images.
    #[serde(rename = "of")]
    pub identity: Value,
    /// Number of finished joint epochs.
    pub epoch: usize,
    /// The best mean validation accuracy so far.
    pub best: f64,
    /// Epochs since the best one.
    pub stale: usize,
    /// Seconds of work so far.
    pub seconds: u64,
}

/// A training that can be resumed. A new one has no tensors.
#[derive(Default)]
pub struct SavedTraining {
    /// How far it is.
    pub point: ResumePoint,
    /// Weights, averages and the optimiser's state.
    pub tensors: BTreeMap<String, Tensor>,
}

/// Returns the path of the state for a checkpoint.
pub fn path(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".resume");
    name.into()
}

/// Writes the state. Replaces an older one when the new file is complete.
///
/// # Errors
/// [`TrainError::Model`].
pub fn write(
    out: &Path,
    point: &ResumePoint,
    tensors: &[(String, Tensor)],
) -> Result<(), TrainError> {
    let point = serde_json::to_string(point).unwrap_or_default();
    let tensors: Vec<_> = tensors
        .iter()
        .map(|(name, tensor)| (name.as_str(), tensor.shallow_clone()))
        .collect();
    Ok(checkpoint::write_tensors(
        &tensors,
        Some(point),
        &path(out),
    )?)
}

/// Reads the state, if there is one.
///
/// # Errors
/// [`TrainError::OtherOptions`] if the state belongs to a training with other options;
/// [`TrainError::Model`] if it is damaged.
pub fn read(out: &Path, identity: &Value) -> Result<Option<SavedTraining>, TrainError> {
    let file = path(out);
    if !file.exists() {
        return Ok(None);
    }
    let (text, tensors) = checkpoint::read_tensors(&file)?;
    let point: ResumePoint = serde_json::from_str(&text).map_err(|error| ModelError::Format {
        path: file.clone(),
        reason: format!("it is not the state of a training: {error}"),
    })?;
    let saved = without_device(&point.identity);
    let wanted = without_device(identity);
    if saved != wanted {
        return Err(TrainError::OtherOptions {
            path: file,
            difference: difference(&saved, &wanted),
        });
    }
    Ok(Some(SavedTraining { point, tensors }))
}

/// Removes the state, if there is one.
///
/// # Errors
/// [`ModelError::File`] if it cannot be removed.
pub fn remove(out: &Path) -> Result<(), ModelError> {
    let path = path(out);
    match fs::remove_file(&path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(ModelError::File { path, source })
        }
        _ => Ok(()),
    }
}

/// Restores the weights of a network from a saved state.
///
/// # Errors
/// [`ModelError::Tensor`], also if a tensor is missing or of another shape.
pub fn restore_weights(
    network: &Network,
    tensors: &BTreeMap<String, Tensor>,
) -> Result<(), ModelError> {
    for (name, mut value) in network.variables.variables() {
        let name = format!("value.{name}");
        let kept = tensors.get(&name).ok_or_else(|| missing_tensor(&name))?;
        tch::no_grad(|| value.f_copy_(kept))?;
    }
    Ok(())
}

/// Makes the error for a tensor that a state lacks.
pub fn missing_tensor(name: &str) -> ModelError {
    let words = format!("the state of the training lacks '{name}'");
    TchError::Torch(words).into()
}

/// Removes device and threads from a training's identity, because it may resume elsewhere.
fn without_device(identity: &Value) -> Value {
    let mut identity = identity.clone();
    if let Some(compute) = identity
        .pointer_mut("/options/compute")
        .and_then(Value::as_object_mut)
    {
        compute.remove("device");
        compute.remove("threads");
    }
    identity
}

/// Describes the first difference between two trainings.
fn difference(saved: &Value, wanted: &Value) -> String {
    let (Some(saved), Some(wanted)) = (saved.as_object(), wanted.as_object()) else {
        return "other options".to_owned();
    };
    let other = wanted
        .iter()
        .find(|(key, value)| saved.get(*key) != Some(value));
    other.map_or("other options".to_owned(), |(key, value)| {
        let saved_value = saved.get(key).unwrap_or(&Value::Null);
        match (saved_value, value) {
            (Value::Object(_), Value::Object(_)) => difference(saved_value, value),
            _ => format!("{key} {saved_value}, not {value}"),
        }
    })
}
