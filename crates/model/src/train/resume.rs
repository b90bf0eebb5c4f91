//! A training's state beside its checkpoint, so that one that was stopped, by whatever, goes on from its last epoch.
//! Knows names and tensors; neither what they are for nor when to write them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tch::{TchError, Tensor};

use super::TrainError;
use crate::model::{ModelError, Network, checkpoint};

/// Where a training stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// What is trained on what and how: a training of other options is another.
    pub of: Value,
    /// Joint epochs done.
    pub epoch: usize,
    /// The best mean validation so far.
    pub best: f64,
    /// Epochs since then.
    pub stale: usize,
    /// Seconds of work until now.
    pub seconds: u64,
}

/// A training to go on with: where it stands, and its tensors by name; none where only the mark is new.
#[derive(Default)]
pub struct Begun {
    /// Where it stands.
    pub mark: Mark,
    /// Weights, averages and the optimiser's state.
    pub state: BTreeMap<String, Tensor>,
}

/// The file of a checkpoint's training.
pub fn path(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".resume");
    name.into()
}

/// Writes the state, in place of an older one once it is whole.
///
/// # Errors
/// [`TrainError::Model`].
pub fn write(out: &Path, mark: &Mark, state: &[(String, Tensor)]) -> Result<(), TrainError> {
    let mark = serde_json::to_string(mark).unwrap_or_default();
    let tensors: Vec<_> = state
        .iter()
        .map(|(name, tensor)| (name.as_str(), tensor.shallow_clone()))
        .collect();
    Ok(checkpoint::write_tensors(&tensors, Some(mark), &path(out))?)
}

/// Reads the state, if there is one.
///
/// # Errors
/// [`TrainError::Begun`] where it is of a training with other options, [`TrainError::Model`] where it is damaged.
pub fn read(out: &Path, of: &Value) -> Result<Option<Begun>, TrainError> {
    let file = path(out);
    if !file.exists() {
        return Ok(None);
    }
    let (text, state) = checkpoint::read_tensors(&file)?;
    let mark: Mark = serde_json::from_str(&text).map_err(|error| ModelError::Format {
        path: file.clone(),
        reason: format!("not the state of a training: {error}"),
    })?;
    let (begun, of) = (anywhere(&mark.of), anywhere(of));
    if begun != of {
        return Err(TrainError::Begun {
            path: file,
            difference: difference(&begun, &of),
        });
    }
    Ok(Some(Begun { mark, state }))
}

/// Removes the state of a training that is done, or is not wanted.
///
/// # Errors
/// [`ModelError::File`] where it is there and cannot be removed.
pub fn remove(out: &Path) -> Result<(), ModelError> {
    let path = path(out);
    match fs::remove_file(&path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(ModelError::File { path, source })
        }
        _ => Ok(()),
    }
}

/// Puts the weights of a training that was stopped back.
///
/// # Errors
/// [`ModelError::Tensor`], also where one is missing or of another shape.
pub fn restore(network: &Network, state: &BTreeMap<String, Tensor>) -> Result<(), ModelError> {
    for (name, mut value) in network.variables.variables() {
        let name = format!("value.{name}");
        let kept = state.get(&name).ok_or_else(|| missing(&name))?;
        tch::no_grad(|| value.f_copy_(kept))?;
    }
    Ok(())
}

/// What a state lacks.
pub fn missing(name: &str) -> ModelError {
    let words = format!("the state of the training lacks '{name}'");
    TchError::Torch(words).into()
}

/// What a training is, wherever it computes: it may go on elsewhere.
fn anywhere(of: &Value) -> Value {
    let mut of = of.clone();
    if let Some(compute) = of
        .pointer_mut("/options/compute")
        .and_then(Value::as_object_mut)
    {
        compute.remove("device");
        compute.remove("threads");
    }
    of
}

/// The first thing two trainings differ in, in words.
fn difference(begun: &Value, now: &Value) -> String {
    let (Some(begun), Some(now)) = (begun.as_object(), now.as_object()) else {
        return "other options".to_owned();
    };
    let other = now
        .iter()
        .find(|(key, value)| begun.get(*key) != Some(value));
    other.map_or("other options".to_owned(), |(key, value)| {
        let was = begun.get(key).unwrap_or(&Value::Null);
        match (was, value) {
            (Value::Object(_), Value::Object(_)) => difference(was, value),
            _ => format!("{key} {was}, not {value}"),
        }
    })
}
