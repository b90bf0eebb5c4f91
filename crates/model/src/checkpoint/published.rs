//! Weights of backbones in their published formats: PyTorch state dicts, and safetensors files with
//! the same names.

use std::{collections::BTreeMap, path::Path};

use safetensors::SafeTensors;
use scihcgrl_pickle::Element;
use tch::{Kind, Tensor};

use crate::{
    checkpoint::{
        load, stored_kind,
        tensors::{fill, invalid, read, write},
    },
    error::ModelError,
    network::Network,
    options::BackboneKind,
};

/// Prefix of a backbone's tensors in a checkpoint, before their published names.
const BACKBONE_PREFIX: &str = "backbone.";

/// Loads the backbone of a network from a safetensors file: from published weights, whose
/// classifier is ignored if there is one, or from a checkpoint, of which only the backbone is used.
///
/// # Errors
/// [`ModelError::File`]; [`ModelError::Format`] if the file is damaged or of another architecture,
/// or if a tensor is missing, unknown or of another shape.
pub fn load_backbone(network: &mut Network, path: &Path) -> Result<(), ModelError> {
    let variables = network.variables.variables().into_iter();
    let wanted: BTreeMap<String, Tensor> = variables
        .filter_map(|(name, tensor)| Some((name.strip_prefix(BACKBONE_PREFIX)?.to_owned(), tensor)))
        .collect();
    let bytes = read(path)?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| invalid(path, error))?;
    if file
        .names()
        .iter()
        .any(|name| name.starts_with(BACKBONE_PREFIX))
    {
        let (given, _, _) = load(path, network.variables.device())?;
        if given.kind == network.kind {
            let mut given = given.variables.variables();
            given.retain(|name, _| name.starts_with(BACKBONE_PREFIX));
            for (name, mut variable) in network.variables.variables() {
                if let Some(value) = given.remove(&name) {
                    tch::no_grad(|| variable.f_copy_(&value))?;
                }
            }
            return Ok(());
        }
    }
    let names = file.names();
    if let (Some(right), Some(other)) = (wanted.keys().next(), names.iter().min())
        && !names.iter().any(|name| wanted.contains_key(*name))
    {
        let kind = network.kind;
        return Err(invalid(
            path,
            format!(
                "it has weights of another architecture than {kind}: '{other}' instead of '{right}'"
            ),
        ));
    }
    fill(wanted, &network.kind.classifier(), &file, path)
}

/// Converts a PyTorch state dict (`.pth`) to safetensors, without the classifier and the batch
/// counters. If `half` is true, stores matrices and kernels in half precision, as in checkpoints.
/// Returns the number of written tensors.
///
/// # Errors
/// [`ModelError::File`], [`ModelError::Format`] and [`ModelError::Tensor`].
pub fn import(from: &Path, to: &Path, half: bool) -> Result<usize, ModelError> {
    let classifiers = BackboneKind::ALL.map(BackboneKind::classifier).concat();
    let mut tensors = state_dict(from)?;
    tensors.retain(|name, tensor| {
        !classifiers.contains(&name.as_str()) && tensor.kind() != Kind::Int64
    });
    let named = tensors.iter().map(|(name, tensor)| {
        let kind = if half {
            stored_kind(tensor)
        } else {
            tensor.kind()
        };
        Ok((name.as_str(), tensor.f_to_kind(kind)?))
    });
    let named = named.collect::<Result<Vec<_>, ModelError>>()?;
    write(&named, None, to)?;
    Ok(named.len())
}

/// Reads the classifier of any backbone from a PyTorch state dict (`.pth`), in `Float`: weight
/// `[classes, feature]` and bias `[classes]`. Published classifiers have the 1,000 classes of
/// ImageNet.
///
/// # Errors
/// [`ModelError::File`]; [`ModelError::Format`] if there is no classifier or its shapes are wrong.
pub fn import_classifier(from: &Path) -> Result<(Tensor, Tensor), ModelError> {
    let mut tensors = state_dict(from)?;
    let (weight, bias) = BackboneKind::ALL
        .iter()
        .find_map(|kind| {
            let [weight, bias] = kind.classifier();
            Some((tensors.remove(weight)?, tensors.remove(bias)?))
        })
        .ok_or_else(|| {
            let pairs = BackboneKind::ALL.map(|kind| kind.classifier().join(" and "));
            invalid(
                from,
                format!("it has no classifier: {}", pairs.join(", or ")),
            )
        })?;
    let (shape, classes) = (weight.size(), bias.size());
    if shape.len() != 2 || classes != shape[..1] {
        return Err(invalid(
            from,
            format!(
                "its classifier has shapes {shape:?} and {classes:?} instead of [classes, feature] and [classes]"
            ),
        ));
    }
    Ok((weight.f_to_kind(Kind::Float)?, bias.f_to_kind(Kind::Float)?))
}

fn state_dict(path: &Path) -> Result<BTreeMap<String, Tensor>, ModelError> {
    let bytes = read(path)?;
    let tensors =
        scihcgrl_pickle::read_state_dict(&bytes).map_err(|reason| invalid(path, reason))?;
    let tensors = tensors.into_iter().map(|tensor| {
        let kind = match tensor.element {
            Element::Float => Kind::Float,
            Element::Half => Kind::Half,
            Element::Long => Kind::Int64,
        };
        let count = tensor.data.len() / tensor.element.width();
        let read = Tensor::f_from_data_size(tensor.data, &[count as i64], kind)
            .and_then(|all| {
                all.f_as_strided(&tensor.shape, &tensor.strides, 0)?
                    .f_contiguous()
            })
            .map_err(|error| invalid(path, format!("tensor '{}': {error}", tensor.name)))?;
        Ok((tensor.name, read))
    });
    tensors.collect()
}
