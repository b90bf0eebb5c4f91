//! A model on disk: one safetensors file whose metadata holds the card. Reads and writes it whole, or not at all.
//! Knows the file's form; neither how the weights came to be nor who uses them.

mod form;
mod published;
mod tensors;

use std::{collections::BTreeMap, fs::File, io::Read, path::Path};

use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor};

use super::{ModelError, Network, backbone::BackboneKind};
use crate::options as config;
pub use form::{HIDDEN, SIDES};
pub use published::{import, import_classifier, load_backbone};
use scihcgrl_image::Input;
use scihcgrl_image::Resize;
use scihcgrl_index::code::HashCode;
use scihcgrl_index::code::Length;
use tensors::{bad, compare, fill, read, write, write_views};
pub use tensors::{read_tensors, write_tensors};

/// The metadata entry that holds the card.
const CARD: &str = "scihcgrl";
/// The most bytes of a card: every answer about models has it, and it stays in memory as long as its model is served.
const MOST_CARD: usize = 1 << 20;
/// The most bytes of a file's header: a card, in which every character may be escaped, and the names of tensors.
const MOST_HEAD: u64 = 8 << 20;

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
    /// How many bytes the sketch has that it makes beside them, if it makes any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sketch: Option<usize>,
    /// From which similarity of sketches images are copies or kin, if it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<Thresholds>,
    /// Side of the square input, pixels.
    pub input_size: u32,
    /// How a picture becomes that square.
    #[serde(default)]
    pub resize: Resize,
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

/// From which similarity of their sketches, −1 to 1, two images are related.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    /// One is a copy of the other: of a million pairs of different photographs, at most one is as similar.
    pub copy: f32,
    /// They show things of one kind: nine of ten labelled photographs as similar do. None if fewer than a tenth of a kind would be found.
    pub kin: Option<f32>,
}

/// How two images are related, by how similar their sketches are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Relation {
    /// One is a copy of the other.
    Copy,
    /// They show things of one kind.
    Kin,
}

impl Thresholds {
    /// How two images of a similarity, −1 to 1, are related; none if they are not.
    pub fn relation(&self, similarity: f32) -> Option<Relation> {
        if similarity >= self.copy {
            return Some(Relation::Copy);
        }
        let kin = self.kin.filter(|&kin| similarity >= kin);
        kin.map(|_| Relation::Kin)
    }
}

impl Card {
    /// From which similarity of their sketches, −1 to 1, two images are copies, if the model makes sketches and it was measured.
    pub fn copy(&self) -> Option<f32> {
        let thresholds = self.thresholds.filter(|_| self.sketch.is_some());
        thresholds.map(|thresholds| thresholds.copy)
    }

    /// What the network reads.
    pub fn input(&self) -> Input {
        Input {
            side: self.input_size,
            resize: self.resize,
        }
    }
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
            let value = tensor.f_detach()?.f_to_device(Device::Cpu)?;
            Ok((name.as_str(), value.f_to_kind(stored(tensor))?))
        })
        .collect::<Result<Vec<_>, ModelError>>()?;
    write(&tensors, Some((CARD, card_json(card, path)?)), path)
}

/// The type that a checkpoint has a tensor in.
fn stored(tensor: &Tensor) -> Kind {
    match tensor.dim() > 1 {
        true => Kind::Half,
        false => Kind::Float,
    }
}

/// Loads a checkpoint with its card and id.
///
/// # Errors
/// [`ModelError::File`] where it cannot be read, [`ModelError::Format`] where it is damaged, of another architecture, or not
/// a checkpoint, or where a weight is not a finite number.
pub fn load(path: &Path, device: Device) -> Result<(Network, Card, String), ModelError> {
    let bytes = read(path)?;
    let card = read_card(&bytes, path)?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| bad(path, error))?;
    // The network takes as much memory as the card says, so the file must hold that much before it is built.
    compare(&form::shapes(&card), &[], &file, path)?;
    let network = Network::new(&card, device)?;
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

/// The card of a checkpoint, from the head of its file alone: nothing tells that the rest is whole.
///
/// # Errors
/// As [`load`].
pub fn card(path: &Path) -> Result<Card, ModelError> {
    let failed = |source| ModelError::File {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(failed)?;
    let mut size = [0; 8];
    file.read_exact(&mut size).map_err(failed)?;
    let size = u64::from_le_bytes(size);
    if size > MOST_HEAD {
        return Err(bad(
            path,
            format!("its header has {size} bytes, and at most {MOST_HEAD} are read"),
        ));
    }
    let mut head = Vec::new();
    file.take(size).read_to_end(&mut head).map_err(failed)?;
    let head: Head = serde_json::from_slice(&head).map_err(|error| bad(path, error))?;
    checked(head.texts.get(CARD), path)
}

/// What a file says of itself before its tensors.
#[derive(Deserialize)]
struct Head {
    #[serde(rename = "__metadata__", default)]
    texts: BTreeMap<String, String>,
}

fn id(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let first = digest.iter().take(6);
    first.map(|byte| format!("{byte:02x}")).collect()
}

/// The card of a checkpoint's bytes, if it is sound.
fn read_card(bytes: &[u8], path: &Path) -> Result<Card, ModelError> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| bad(path, error))?;
    let texts = header.metadata().as_ref();
    checked(texts.and_then(|texts| texts.get(CARD)), path)
}

/// The card of a text, if it is sound.
fn checked(text: Option<&String>, path: &Path) -> Result<Card, ModelError> {
    let card =
        text.ok_or_else(|| bad(path, "it has no model card; make one with `scihcgrl train`"))?;
    if card.len() > MOST_CARD {
        let bytes = card.len();
        return Err(bad(
            path,
            format!("its model card has {bytes} bytes; the most is {MOST_CARD}"),
        ));
    }
    let card: Card = serde_json::from_str(card)
        .map_err(|error| bad(path, format!("its model card: {error}")))?;
    form::check(&card).map_err(|reason| bad(path, format!("its model card: {reason}")))?;
    Ok(card)
}

/// Changes a checkpoint's card; the weights stay, the checkpoint's id changes with its bytes.
///
/// # Errors
/// As [`load`].
pub fn record(path: &Path, change: impl FnOnce(&mut Card)) -> Result<(), ModelError> {
    let bytes = read(path)?;
    let mut card = read_card(&bytes, path)?;
    change(&mut card);
    let file = SafeTensors::deserialize(&bytes).map_err(|error| bad(path, error))?;
    let tensors = file.tensors();
    let views = tensors
        .iter()
        .map(|(name, view)| (name.as_str(), view.clone()));
    let metadata = (CARD, card_json(&card, path)?);
    write_views(views.collect(), Some(metadata), path)
}

fn card_json(card: &Card, path: &Path) -> Result<String, ModelError> {
    serde_json::to_string(card).map_err(|error| bad(path, error))
}
