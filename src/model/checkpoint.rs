//! A model on disk: one safetensors file whose metadata holds the card. Reads and writes it whole, or not at all.
//! Knows the file's form; neither how the weights came to be nor who uses them.

mod published;

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io::Write,
    path::Path,
};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor};

use super::{ModelError, Network, backbone::BackboneKind};
use crate::{
    code::{HashCode, Length},
    config,
};
pub use published::{import, import_classifier, load_backbone};

/// The metadata entry that holds the card.
const CARD: &str = "scihcgrl";

/// What a model is, as its checkpoint tells it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Card {
    /// The backbone.
    pub backbone: BackboneKind,
    /// What the policies are built of.
    #[serde(flatten)]
    pub policy: config::Policy,
    /// Code lengths, ascending: one policy head each.
    pub lengths: Vec<Length>,
    /// Side of the square input, pixels.
    pub input_size: u32,
    /// Subtracted from each channel (R, G, B) of pixels scaled to 0…1.
    pub mean: [f32; 3],
    /// What each channel is then divided by.
    pub deviation: [f32; 3],
    /// Class names, in the order of the centres.
    pub classes: Vec<String>,
    /// Each length's hash centres, one per class.
    pub centers: BTreeMap<Length, Vec<HashCode>>,
    /// How it was trained: data, options, epochs, seconds.
    pub training: serde_json::Value,
    /// Quality measured on held-out images, where it was.
    pub quality: serde_json::Value,
}

/// Writes a checkpoint: matrices and kernels in half precision, vectors (biases, statistics) in float. The file appears under
/// its name only when it is whole.
///
/// # Errors
/// [`ModelError::File`] and [`ModelError::Tensor`].
pub fn save(network: &Network, card: &Card, path: &Path) -> Result<(), ModelError> {
    let variables = network.variables.variables();
    let tensors = variables
        .iter()
        .map(|(name, tensor)| {
            let kind = if tensor.dim() > 1 {
                Kind::Half
            } else {
                Kind::Float
            };
            Ok((
                name.as_str(),
                tensor
                    .f_detach()?
                    .f_to_device(Device::Cpu)?
                    .f_to_kind(kind)?,
            ))
        })
        .collect::<Result<Vec<_>, ModelError>>()?;
    write(&tensors, Some((CARD, card_json(card, path)?)), path)
}

/// Loads a checkpoint with its card and id.
///
/// # Errors
/// [`ModelError::File`] where it cannot be read, [`ModelError::Format`] where it is damaged, of another architecture, or not
/// a checkpoint.
pub fn load(path: &Path, device: Device) -> Result<(Network, Card, String), ModelError> {
    let bytes = read(path)?;
    let card = read_card(&bytes, path)?;
    let network = Network::new(&card, device)?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| bad(path, error))?;
    let wanted = network.variables.variables().into_iter().collect();
    fill(wanted, &[], &file, path)?;
    Ok((network, card, id(&bytes)))
}

/// The card and id of a checkpoint that can be loaded.
///
/// # Errors
/// As [`load`].
pub fn describe(path: &Path) -> Result<(Card, String), ModelError> {
    let (_, card, id) = load(path, Device::Cpu)?;
    Ok((card, id))
}

fn id(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let first = digest.iter().take(6);
    first.map(|byte| format!("{byte:02x}")).collect()
}

/// The card of a checkpoint's bytes, if it is sound.
fn read_card(bytes: &[u8], path: &Path) -> Result<Card, ModelError> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| bad(path, error))?;
    let card = header
        .metadata()
        .as_ref()
        .and_then(|metadata| metadata.get(CARD))
        .ok_or_else(|| bad(path, "it has no model card; make one with `scihcgrl train`"))?;
    let card: Card = serde_json::from_str(card)
        .map_err(|error| bad(path, format!("its model card: {error}")))?;
    let complete = card.lengths.iter().all(|length| {
        let centers = card.centers.get(length);
        centers.is_some_and(|centers| centers.len() == card.classes.len())
    });
    if !complete
        || card.lengths.is_empty()
        || !card.lengths.is_sorted()
        || !(1..=8192).contains(&card.policy.hidden)
        || !(1..=16).contains(&card.policy.passes)
        || !(1..=2048).contains(&card.input_size)
    {
        return Err(bad(path, "its model card contradicts itself"));
    }
    Ok(card)
}

/// Writes measured quality into a checkpoint's card; the weights stay, the checkpoint's id changes with its bytes.
///
/// # Errors
/// As [`load`].
pub fn record_quality(path: &Path, quality: serde_json::Value) -> Result<(), ModelError> {
    let bytes = read(path)?;
    let mut card = read_card(&bytes, path)?;
    card.quality = quality;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| bad(path, error))?;
    let tensors = file.tensors();
    let views = tensors
        .iter()
        .map(|(name, view)| (name.as_str(), view.clone()));
    let metadata = (CARD, card_json(&card, path)?);
    write_views(views.collect(), Some(metadata), path)
}

/// Writes tensors, in half precision or float as they are, with a text beside them, whole or not at all.
///
/// # Errors
/// [`ModelError::File`] and [`ModelError::Tensor`].
pub fn write_tensors(
    tensors: &[(&str, Tensor)],
    text: Option<String>,
    path: &Path,
) -> Result<(), ModelError> {
    write(tensors, text.map(|text| (CARD, text)), path)
}

/// Reads what [`write_tensors`] wrote.
///
/// # Errors
/// [`ModelError::File`] and [`ModelError::Format`].
pub fn read_tensors(path: &Path) -> Result<(String, BTreeMap<String, Tensor>), ModelError> {
    let bytes = read(path)?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| bad(path, error))?;
    let texts = header.metadata().as_ref();
    let text = texts.and_then(|texts| texts.get(CARD)).cloned();
    let file = SafeTensors::deserialize(&bytes).map_err(|error| bad(path, error))?;
    let tensors = file.tensors().into_iter().map(|(name, view)| {
        let tensor = tensor(&name, &view, path)?;
        Ok((name, tensor))
    });
    Ok((
        text.unwrap_or_default(),
        tensors.collect::<Result<_, ModelError>>()?,
    ))
}

/// A tensor of a file.
fn tensor(name: &str, view: &TensorView, path: &Path) -> Result<Tensor, ModelError> {
    let shape: Vec<i64> = view.shape().iter().map(|&side| side as i64).collect();
    let kind = match view.dtype() {
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::F32 => Kind::Float,
        other => return Err(bad(path, format!("tensor '{name}' is of type {other:?}"))),
    };
    Ok(Tensor::f_from_data_size(view.data(), &shape, kind)?)
}

/// Copies every one of some variables, by name, from the file. Each must be there with its shape, and nothing else may be but
/// what is `ignored`.
fn fill(
    wanted: BTreeMap<String, Tensor>,
    ignored: &[&str],
    file: &SafeTensors,
    path: &Path,
) -> Result<(), ModelError> {
    if let Some(extra) = file
        .names()
        .into_iter()
        .find(|name| !wanted.contains_key(*name) && !ignored.contains(&name.as_str()))
    {
        return Err(bad(
            path,
            format!("this architecture has no tensor '{extra}'"),
        ));
    }
    for (name, mut variable) in wanted {
        let view = file
            .tensor(&name)
            .map_err(|_| bad(path, format!("tensor '{name}' is missing")))?;
        let value = tensor(&name, &view, path)?;
        let shape = value.size();
        if shape != variable.size() {
            let expected = variable.size();
            return Err(bad(
                path,
                format!("tensor '{name}' has shape {shape:?} instead of {expected:?}"),
            ));
        }
        tch::no_grad(|| variable.f_copy_(&value))?;
    }
    Ok(())
}

fn write(
    tensors: &[(&str, Tensor)],
    metadata: Option<(&str, String)>,
    path: &Path,
) -> Result<(), ModelError> {
    let data = tensors
        .iter()
        .map(|(name, tensor)| {
            let (dtype, width) = match tensor.kind() {
                Kind::Half => (Dtype::F16, 2),
                _ => (Dtype::F32, 4),
            };
            let mut bytes = vec![0u8; tensor.numel() * width];
            tensor
                .f_contiguous()?
                .f_copy_data_u8(&mut bytes, tensor.numel())?;
            let shape = tensor
                .size()
                .iter()
                .map(|&side| side as usize)
                .collect::<Vec<_>>();
            Ok((*name, dtype, shape, bytes))
        })
        .collect::<Result<Vec<_>, ModelError>>()?;
    let views = data
        .iter()
        .map(|(name, dtype, shape, bytes)| {
            let view =
                TensorView::new(*dtype, shape.clone(), bytes).map_err(|error| bad(path, error))?;
            Ok((*name, view))
        })
        .collect::<Result<Vec<_>, ModelError>>()?;
    write_views(views, metadata, path)
}

/// Writes the file beside its name first, so that under the name there is never a part of one.
fn write_views(
    views: Vec<(&str, TensorView)>,
    metadata: Option<(&str, String)>,
    path: &Path,
) -> Result<(), ModelError> {
    let metadata: Option<HashMap<String, String>> =
        metadata.map(|(name, value)| HashMap::from([(name.to_owned(), value)]));
    let bytes = safetensors::serialize(views, &metadata).map_err(|error| bad(path, error))?;
    let part = path.with_extension("part");
    let written = File::create(&part).and_then(|mut file| {
        file.write_all(&bytes)?;
        file.sync_all()
    });
    written
        .and_then(|()| fs::rename(&part, path))
        .map_err(|source| {
            let _ = fs::remove_file(&part);
            ModelError::File {
                path: path.to_owned(),
                source,
            }
        })
}

fn read(path: &Path) -> Result<Vec<u8>, ModelError> {
    fs::read(path).map_err(|source| ModelError::File {
        path: path.to_owned(),
        source,
    })
}

fn card_json(card: &Card, path: &Path) -> Result<String, ModelError> {
    serde_json::to_string(card).map_err(|error| bad(path, error))
}

fn bad(path: &Path, reason: impl ToString) -> ModelError {
    ModelError::Format {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}
