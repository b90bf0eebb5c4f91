//! Reads the state dict of a `torch.save` file, old-style or a zip archive. Understands only what a state dict needs and calls
//! nothing, so a hostile file can at worst be refused. Knows no architecture.

mod archive;
mod machine;

use std::collections::HashMap;

use tch::{Kind, Tensor};

use machine::{MAGIC, Reader, Value};

/// The entries of a state dict, and the bytes of each storage by its key.
type Parts<'a> = (Vec<(Value, Value)>, HashMap<String, &'a [u8]>);

/// The tensors of a state dict with their names, in order.
///
/// # Errors
/// In words, where the file is damaged or is anything but a state dict of float, half or long tensors.
pub(super) fn read_state_dict(bytes: &[u8]) -> Result<Vec<(String, Tensor)>, String> {
    let (entries, storages) = if bytes.starts_with(b"PK") {
        archive::read(bytes)?
    } else {
        read_old(bytes)?
    };
    let mut tensors = Vec::new();
    for (name, value) in entries {
        let (
            Value::Text(name),
            Value::Tensor {
                key,
                class,
                offset,
                shape,
                strides,
            },
        ) = (name, value)
        else {
            return Err("it holds something else than named tensors".to_owned());
        };
        let (kind, width) = element(&class)?;
        let data = storages
            .get(&key)
            .ok_or_else(|| format!("the storage of tensor '{name}' is missing"))?;
        // libtorch itself refuses a view that reaches past its storage.
        let tensor = Tensor::f_from_data_size(data, &[(data.len() / width) as i64], kind)
            .and_then(|all| all.f_as_strided(&shape, &strides, offset)?.f_contiguous())
            .map_err(|error| format!("tensor '{name}': {error}"))?;
        tensors.push((name, tensor));
    }
    Ok(tensors)
}

/// An old-style file: five pickles, then the storages' bytes.
fn read_old(bytes: &[u8]) -> Result<Parts<'_>, String> {
    let mut reader = Reader::new(bytes);
    if !matches!(reader.pickle()?, Value::Text(magic) if magic == MAGIC) {
        return Err("it does not begin as a torch.save file does".to_owned());
    }
    reader.pickle()?; // protocol version
    reader.pickle()?; // byte order and sizes, always those of x86
    let entries = entries(reader.pickle()?)?;
    let Value::Sequence(keys) = reader.pickle()? else {
        return Err("its list of storages is missing".to_owned());
    };
    let widths: HashMap<String, (Kind, usize)> = entries
        .iter()
        .filter_map(|(_, value)| match value {
            Value::Tensor { key, class, .. } => {
                Some(element(class).map(|element| (key.clone(), element)))
            }
            _ => None,
        })
        .collect::<Result<_, _>>()?;
    let mut storages = HashMap::new();
    for key in keys {
        let Value::Text(key) = key else {
            return Err("a storage's key is not a text".to_owned());
        };
        let (_, width) = *widths.get(&key).ok_or("a storage belongs to no tensor")?;
        let count = reader
            .take(8)?
            .iter()
            .rev()
            .fold(0usize, |count, &byte| count << 8 | usize::from(byte));
        storages.insert(
            key,
            reader.take(count.checked_mul(width).ok_or("a storage is too large")?)?,
        );
    }
    Ok((entries, storages))
}

fn entries(value: Value) -> Result<Vec<(Value, Value)>, String> {
    match value {
        Value::Dict(entries) => Ok(entries),
        _ => Err("it holds something else than a state dict".to_owned()),
    }
}

fn element(class: &str) -> Result<(Kind, usize), String> {
    match class {
        "torch FloatStorage" => Ok((Kind::Float, 4)),
        "torch HalfStorage" => Ok((Kind::Half, 2)),
        "torch LongStorage" => Ok((Kind::Int64, 8)),
        other => Err(format!("tensors of '{other}' are not read")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_state_dict_is_refused() {
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
}
