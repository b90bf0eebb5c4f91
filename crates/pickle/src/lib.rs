//! Reads the state dict of a `torch.save` file: a zip archive, or the older format of several
//! pickles in a row.
//!
//! Supports only the instructions that state dicts need, and calls nothing. Limits the steps, and
//! the depth and size of the values that a file makes, so a hostile file is refused.
//!
//! - `machine`: runs pickles
//! - `archive`: reads zip archives

#![deny(missing_docs)]

mod archive;
mod machine;

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
};

use machine::{MAGIC, Reader, Value};

/// A name and its tensor.
type Entry = (Rc<str>, Rc<machine::Tensor>);
/// The entries of a state dict, and the bytes of each storage by key.
type Parts<'a> = (Vec<Entry>, HashMap<Rc<str>, &'a [u8]>);

/// Maximum number of bytes of all tensors, as a multiple of the file's size. Tensors that share a
/// storage are written once, but each is returned.
const MAX_EXPANSION: usize = 4;

/// The type of a tensor's elements, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// IEEE single precision, 4 bytes.
    Float,
    /// IEEE half precision, 2 bytes.
    Half,
    /// A signed integer of 8 bytes.
    Long,
}

impl Element {
    /// Returns the number of bytes of an element.
    pub fn width(self) -> usize {
        match self {
            Element::Half => 2,
            Element::Float => 4,
            Element::Long => 8,
        }
    }
}

/// A tensor of a state dict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor<'a> {
    /// Its name in the state dict.
    pub name: String,
    /// The type of its elements.
    pub element: Element,
    /// The number of elements along each dimension.
    pub shape: Vec<i64>,
    /// The distance between neighbours along each dimension, in elements.
    pub strides: Vec<i64>,
    /// The bytes from its first element to its last; empty if it has no elements.
    pub data: &'a [u8],
}

/// Reads the tensors of a state dict, in order.
///
/// # Errors
/// A message, if the file is damaged or is not a state dict of float, half or long tensors.
pub fn read_state_dict(bytes: &[u8]) -> Result<Vec<Tensor<'_>>, String> {
    let (entries, storages) = if bytes.starts_with(b"PK") {
        archive::read(bytes)?
    } else {
        read_legacy(bytes)?
    };
    let (mut tensors, mut names) = (Vec::new(), HashSet::new());
    let mut left = bytes.len().saturating_mul(MAX_EXPANSION);
    for (name, view) in entries {
        if !names.insert(name.clone()) {
            return Err(format!("it has two tensors named '{name}'"));
        }
        let element = element(&view.storage.class)?;
        let storage = storages
            .get(&view.storage.key)
            .ok_or_else(|| format!("the storage of tensor '{name}' is missing"))?;
        let data = tensor_bytes(&view, storage, element.width())
            .ok_or_else(|| format!("tensor '{name}' does not fit its storage"))?;
        left = left
            .checked_sub(data.len())
            .ok_or("its tensors share their storages too often")?;
        tensors.push(Tensor {
            name: name.to_string(),
            element,
            shape: view.shape.clone(),
            strides: view.strides.clone(),
            data,
        });
    }
    Ok(tensors)
}

/// Returns the bytes of a storage from a tensor's first element to its last. Returns `None` if the
/// tensor reaches past the storage or uses an element twice.
fn tensor_bytes<'a>(view: &machine::Tensor, storage: &'a [u8], width: usize) -> Option<&'a [u8]> {
    let (mut elements, mut span) = (1usize, 1usize);
    if view.shape.len() != view.strides.len() {
        return None;
    }
    for (&side, &stride) in view.shape.iter().zip(&view.strides) {
        let (side, stride) = (usize::try_from(side).ok()?, usize::try_from(stride).ok()?);
        elements = elements.checked_mul(side)?;
        span = span.checked_add(side.saturating_sub(1).checked_mul(stride)?)?;
    }
    let start = usize::try_from(view.offset).ok()?.checked_mul(width)?;
    if elements == 0 {
        return Some(&[]);
    }
    let bytes = storage.get(start..start.checked_add(span.checked_mul(width)?)?)?;
    (elements <= span).then_some(bytes)
}

/// Reads a file of the older format: five pickles, then the bytes of the storages.
fn read_legacy(bytes: &[u8]) -> Result<Parts<'_>, String> {
    let mut reader = Reader::new(bytes);
    if !matches!(reader.pickle()?, Value::Text(magic) if &*magic == MAGIC) {
        return Err("it does not begin like a torch.save file".to_owned());
    }
    reader.pickle()?; // protocol version
    reader.pickle()?; // byte order and sizes, always those of x86
    let entries = entries(&reader.pickle()?)?;
    let Value::Sequence(keys) = reader.pickle()? else {
        return Err("its list of storages is missing".to_owned());
    };
    let mut widths = HashMap::new();
    for (_, tensor) in &entries {
        let element = element(&tensor.storage.class)?;
        widths.insert(tensor.storage.key.clone(), element.width());
    }
    let mut storages = HashMap::new();
    for key in &keys.values {
        let Value::Text(key) = key else {
            return Err("the key of a storage is not a string".to_owned());
        };
        let width = *widths.get(key).ok_or("a storage belongs to no tensor")?;
        let count = reader
            .take(8)?
            .iter()
            .rev()
            .fold(0usize, |count, &byte| count << 8 | usize::from(byte));
        storages.insert(
            key.clone(),
            reader.take(count.checked_mul(width).ok_or("a storage is too large")?)?,
        );
    }
    Ok((entries, storages))
}

fn entries(value: &Value) -> Result<Vec<Entry>, String> {
    let Value::Dict(entries) = value else {
        return Err("it is not a state dict".to_owned());
    };
    let named = |pair: &[Value]| match pair {
        [Value::Text(name), Value::Tensor(tensor)] => Ok((name.clone(), tensor.clone())),
        _ => Err("its state dict has entries other than named tensors".to_owned()),
    };
    entries.values.chunks(2).map(named).collect()
}

fn element(class: &str) -> Result<Element, String> {
    match class {
        "torch FloatStorage" => Ok(Element::Float),
        "torch HalfStorage" => Ok(Element::Half),
        "torch LongStorage" => Ok(Element::Long),
        other => Err(format!("tensors of '{other}' are not supported")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_files_than_state_dicts_are_refused() {
        let magic = [
            0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, b'.',
        ];
        assert!(read_state_dict(b"").unwrap_err().contains("cut short"));
        assert!(read_state_dict(&magic).unwrap_err().contains("cut short"));
        assert!(
            read_state_dict(b"\x80\x02K\x01.")
                .unwrap_err()
                .contains("torch.save")
        );
        let hostile = [
            &magic[..],
            b"K\x01.",
            b"}.",
            b"cos\nsystem\nX\x02\0\0\0ls\x85R.",
        ]
        .concat();
        assert!(
            read_state_dict(&hostile)
                .unwrap_err()
                .contains("unknown object")
        );
    }

    /// Returns a file of the older format with a pickle as its state dict.
    fn legacy(dict: &[u8]) -> Vec<u8> {
        let magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
        [&magic[..], b"K\x01.", b"}.", dict].concat()
    }

    #[test]
    fn values_that_grow_beyond_the_limits_are_refused() {
        let refused = |dict: &[u8]| read_state_dict(&legacy(dict)).unwrap_err();
        // Nested tuples: dropping them would overflow the stack.
        let nested = [&b")"[..], &b"\x85".repeat(1 << 19), b"."].concat();
        assert!(refused(&nested).contains("64 deep"), "{}", refused(&nested));
        // Each tuple holds the previous one twice: 2⁴⁰ values in 250 bytes.
        let doubled = [&b")q\0"[..], &b"h\0h\0\x86q\0".repeat(40), b"."].concat();
        let message = refused(&doubled);
        assert!(message.contains("not a state dict"), "{message}");
        let long = [&b"N".repeat(2 << 20), &b"."[..]].concat();
        assert!(refused(&long).contains("more than 1048576 steps"));
        // A shared list is copied before it grows.
        let copied = [
            &b"]("[..],
            &b"N".repeat(1 << 10),
            b"e",
            &b"q\0Na".repeat(1 << 12),
            b".",
        ];
        assert!(refused(&copied.concat()).contains("more than 1048576 steps"));
    }

    #[test]
    fn a_tensor_has_no_more_elements_than_its_storage() {
        let view = |offset, shape: &[i64], strides: &[i64]| machine::Tensor {
            storage: machine::Storage {
                key: "0".into(),
                class: "torch FloatStorage".into(),
            },
            offset,
            shape: shape.to_vec(),
            strides: strides.to_vec(),
        };
        let bytes = [0; 24];
        let found = |view| tensor_bytes(&view, &bytes, 4).map(<[u8]>::len);
        assert_eq!(found(view(0, &[3, 2], &[1, 3])), Some(24));
        assert_eq!(found(view(1, &[2, 2], &[2, 1])), Some(16));
        assert_eq!(found(view(0, &[0, 9], &[9, 1])), Some(0));
        for wrong in [
            view(0, &[0xffff_ffff, 0xffff_ffff], &[0, 0]),
            view(0, &[7], &[1]),
            view(5, &[2], &[1]),
            view(-1, &[1], &[1]),
            view(0, &[2, 0xffff_ffff], &[0xffff_ffff, 0xffff_ffff]),
            view(0, &[2], &[]),
        ] {
            assert_eq!(found(wrong), None);
        }
    }
}
