//! Model files: safetensors with the card in the metadata. A file is read or written completely or
//! not at all.
//!
//! - `tensors`: reads and writes safetensors
//! - `layout`: the ranges and tensors that a card promises
//! - `published`: weights in their published formats

mod layout;
mod published;
mod tensors;

use std::{collections::BTreeMap, fs::File, io::Read, path::Path};

use safetensors::SafeTensors;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor};

use crate::{card::Card, error::ModelError, network::Network};

use tensors::{CARD_ENTRY, check_shapes, fill, invalid, read, write, write_views};

pub use layout::{HIDDEN_RANGE, SIDE_RANGE};
pub use published::{import, import_classifier, load_backbone};
pub use tensors::{read_tensors, write_tensors};

/// Maximum number of bytes of a card. Every response about models contains it, and it stays in
/// memory while its model is served.
const MAX_CARD_BYTES: usize = 1 << 20;
/// Maximum number of bytes of a file's header: a card in which every character may be escaped, and
/// the names of tensors.
const MAX_HEADER_BYTES: u64 = 8 << 20;

/// Writes a checkpoint. Matrices and kernels are stored in half precision, vectors (biases,
/// statistics) in float. The file appears under its name only when it is complete.
///
/// # Errors
/// [`ModelError::File`] and [`ModelError::Tensor`].
pub fn save(network: &Network, card: &Card, path: &Path) -> Result<(), ModelError> {
    let variables = network.variables.variables();
    let tensors = variables
        .iter()
        .map(|(name, tensor)| {
            let value = tensor.f_detach()?.f_to_device(Device::Cpu)?;
            Ok((name.as_str(), value.f_to_kind(stored_kind(tensor))?))
        })
        .collect::<Result<Vec<_>, ModelError>>()?;
    write(&tensors, Some((CARD_ENTRY, card_json(card, path)?)), path)
}

/// Returns the type in which a checkpoint stores a tensor.
fn stored_kind(tensor: &Tensor) -> Kind {
    if tensor.dim() > 1 {
        Kind::Half
    } else {
        Kind::Float
    }
}

/// Loads a network with its card and id.
///
/// # Errors
/// [`ModelError::File`] if the file cannot be read; [`ModelError::Format`] if it is damaged, of
/// another architecture or not a checkpoint, or if a weight is not a finite number.
pub fn load(path: &Path, device: Device) -> Result<(Network, Card, String), ModelError> {
    let bytes = read(path)?;
    let card = card_in_file(&bytes, path)?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| invalid(path, error))?;
    // The card determines the memory that the network takes, so check that the file has all the
    // tensors before building it.
    check_shapes(&layout::shapes(&card), &[], &file, path)?;
    let network = Network::new(&card, device)?;
    let wanted = network.variables.variables().into_iter().collect();
    fill(wanted, &[], &file, path)?;
    Ok((network, card, id(&bytes)))
}

/// Loads a checkpoint as a check, and returns its card and id.
///
/// # Errors
/// As [`load`].
pub fn describe(path: &Path) -> Result<(Card, String), ModelError> {
    let (_, card, id) = load(path, Device::Cpu)?;
    Ok((card, id))
}

/// Reads the card from the header of a file. Does not check the tensors.
///
/// # Errors
/// As [`load`].
pub fn read_card(path: &Path) -> Result<Card, ModelError> {
    let failed = |source| ModelError::File {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(failed)?;
    let mut size = [0; 8];
    file.read_exact(&mut size).map_err(failed)?;
    let size = u64::from_le_bytes(size);
    if size > MAX_HEADER_BYTES {
        return Err(invalid(
            path,
            format!("its header has {size} bytes; it must have at most {MAX_HEADER_BYTES}"),
        ));
    }
    let mut head = Vec::new();
    file.take(size).read_to_end(&mut head).map_err(failed)?;
    let head: Header = serde_json::from_slice(&head).map_err(|error| invalid(path, error))?;
    parse_card(head.metadata.get(CARD_ENTRY), path)
}

/// The part of a safetensors header that holds the card.
#[derive(Deserialize)]
struct Header {
    #[serde(rename = "__metadata__", default)]
    metadata: BTreeMap<String, String>,
}

fn id(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let first = digest.iter().take(6);
    first.map(|byte| format!("{byte:02x}")).collect()
}

/// Reads and checks the card in a file's bytes.
fn card_in_file(bytes: &[u8], path: &Path) -> Result<Card, ModelError> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| invalid(path, error))?;
    let metadata = header.metadata().as_ref();
    parse_card(metadata.and_then(|metadata| metadata.get(CARD_ENTRY)), path)
}

/// Parses and checks a card.
fn parse_card(text: Option<&String>, path: &Path) -> Result<Card, ModelError> {
    let card =
        text.ok_or_else(|| invalid(path, "it has no model card; make one with `scihcgrl train`"))?;
    if card.len() > MAX_CARD_BYTES {
        let bytes = card.len();
        return Err(invalid(
            path,
            format!("its model card has {bytes} bytes; it must have at most {MAX_CARD_BYTES}"),
        ));
    }
    let card: Card = serde_json::from_str(card)
        .map_err(|error| invalid(path, format!("its model card: {error}")))?;
    layout::check(&card).map_err(|reason| invalid(path, format!("its model card: {reason}")))?;
    Ok(card)
}

/// Changes a checkpoint's card. The weights stay the same. The id changes, because it depends on
/// all bytes.
///
/// # Errors
/// As [`load`].
pub fn update_card(path: &Path, change: impl FnOnce(&mut Card)) -> Result<(), ModelError> {
    let bytes = read(path)?;
    let mut card = card_in_file(&bytes, path)?;
    change(&mut card);
    let file = SafeTensors::deserialize(&bytes).map_err(|error| invalid(path, error))?;
    let tensors = file.tensors();
    let views = tensors
        .iter()
        .map(|(name, view)| (name.as_str(), view.clone()));
    let metadata = (CARD_ENTRY, card_json(&card, path)?);
    write_views(views.collect(), Some(metadata), path)
}

fn card_json(card: &Card, path: &Path) -> Result<String, ModelError> {
    serde_json::to_string(card).map_err(|error| invalid(path, error))
}
