//! Reads the state dict of an old-style `torch.save` file: five pickles, then the storages' bytes. Understands only what a state
//! dict needs and calls nothing, so a hostile file can at worst be refused. Knows no architecture.

use std::collections::HashMap;

use tch::{Kind, Tensor};

const MAGIC: &str = "a long that torch.save begins with";

#[derive(Clone, Debug)]
enum Value {
    Nothing,
    Int(i64),
    Text(String),
    Global(String),
    Sequence(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    Storage {
        key: String,
        class: String,
    },
    Tensor {
        key: String,
        class: String,
        offset: i64,
        shape: Vec<i64>,
        strides: Vec<i64>,
    },
}

/// The tensors of a state dict with their names, in order.
///
/// # Errors
/// In words, where the file is cut short or is anything but a state dict of float, half or long tensors.
pub(super) fn read_state_dict(bytes: &[u8]) -> Result<Vec<(String, Tensor)>, String> {
    let mut reader = Reader { bytes };
    if !matches!(reader.pickle()?, Value::Text(magic) if magic == MAGIC) {
        return Err("it does not begin as an old-style torch.save file does".to_owned());
    }
    reader.pickle()?; // protocol version
    reader.pickle()?; // byte order and sizes, always those of x86
    let Value::Dict(entries) = reader.pickle()? else {
        return Err("it holds something else than a state dict".to_owned());
    };
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

fn element(class: &str) -> Result<(Kind, usize), String> {
    match class {
        "torch FloatStorage" => Ok((Kind::Float, 4)),
        "torch HalfStorage" => Ok((Kind::Half, 2)),
        "torch LongStorage" => Ok((Kind::Int64, 8)),
        other => Err(format!("tensors of '{other}' are not read")),
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self
            .bytes
            .split_at_checked(count)
            .ok_or("it is cut short")?;
        self.bytes = rest;
        Ok(taken)
    }

    fn number(&mut self, bytes: usize) -> Result<usize, String> {
        Ok(self
            .take(bytes)?
            .iter()
            .rev()
            .fold(0, |number, &byte| number << 8 | usize::from(byte)))
    }

    fn text(&mut self, length: usize) -> Result<String, String> {
        String::from_utf8(self.take(length)?.to_vec()).map_err(|error| error.to_string())
    }

    fn line(&mut self) -> Result<String, String> {
        let end = self
            .bytes
            .iter()
            .position(|&byte| byte == b'\n')
            .ok_or("it is cut short")?;
        let line = self.text(end)?;
        self.take(1)?;
        Ok(line)
    }

    /// One pickle of protocol 2, up to its STOP.
    fn pickle(&mut self) -> Result<Value, String> {
        let (mut stack, mut marks, mut memo) = (Vec::<Value>::new(), Vec::new(), HashMap::new());
        let under = || "its pickle is damaged".to_owned();
        loop {
            match self.number(1)? as u8 {
                0x80 => drop(self.take(1)?),
                b'.' => return stack.pop().ok_or_else(under),
                b'N' | 0x88 | 0x89 => stack.push(Value::Nothing),
                b'K' => stack.push(Value::Int(self.number(1)? as i64)),
                b'M' => stack.push(Value::Int(self.number(2)? as i64)),
                b'J' => stack.push(Value::Int(i64::from(self.number(4)? as u32 as i32))),
                0x8a => {
                    let length = self.number(1)?;
                    let long = self.take(length)?;
                    // Only the file's magic number is this long.
                    let magic = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
                    stack.push(if long == magic {
                        Value::Text(MAGIC.to_owned())
                    } else {
                        Value::Nothing
                    });
                }
                b'X' => {
                    let length = self.number(4)?;
                    stack.push(Value::Text(self.text(length)?));
                }
                b'c' => stack.push(Value::Global(format!("{} {}", self.line()?, self.line()?))),
                b'q' => drop(memo.insert(self.number(1)?, stack.last().ok_or_else(under)?.clone())),
                b'r' => drop(memo.insert(self.number(4)?, stack.last().ok_or_else(under)?.clone())),
                b'h' => stack.push(memo.get(&self.number(1)?).ok_or_else(under)?.clone()),
                b'j' => stack.push(memo.get(&self.number(4)?).ok_or_else(under)?.clone()),
                b'}' => stack.push(Value::Dict(Vec::new())),
                b']' | b')' => stack.push(Value::Sequence(Vec::new())),
                b'(' => marks.push(stack.len()),
                b't' => {
                    let items = stack.split_off(marks.pop().ok_or_else(under)?.min(stack.len()));
                    stack.push(Value::Sequence(items));
                }
                tuple @ 0x85..=0x87 => {
                    let from = stack
                        .len()
                        .checked_sub(usize::from(tuple - 0x84))
                        .ok_or_else(under)?;
                    let items = stack.split_off(from);
                    stack.push(Value::Sequence(items));
                }
                append @ (b'e' | b'a') => {
                    let from = if append == b'a' {
                        stack.len().checked_sub(1)
                    } else {
                        marks.pop()
                    };
                    let items = stack.split_off(from.ok_or_else(under)?.min(stack.len()));
                    let Some(Value::Sequence(list)) = stack.last_mut() else {
                        return Err(under());
                    };
                    list.extend(items);
                }
                set @ (b'u' | b's') => {
                    let from = if set == b's' {
                        stack.len().checked_sub(2)
                    } else {
                        marks.pop()
                    };
                    let items = stack.split_off(from.ok_or_else(under)?.min(stack.len()));
                    let Some(Value::Dict(dict)) = stack.last_mut() else {
                        return Err(under());
                    };
                    dict.extend(
                        items
                            .chunks_exact(2)
                            .map(|pair| (pair[0].clone(), pair[1].clone())),
                    );
                }
                // An object's attributes; a state dict's are of no use here.
                b'b' => drop(stack.pop()),
                b'Q' => {
                    let id = stack.pop();
                    stack.push(storage(id).ok_or_else(under)?);
                }
                b'R' => {
                    let (arguments, function) = (stack.pop(), stack.pop());
                    stack.push(
                        call(function, arguments)
                            .ok_or_else(|| "it holds an unknown object".to_owned())?,
                    );
                }
                other => {
                    return Err(format!(
                        "its pickle has an instruction, {other:#x}, that no state dict needs"
                    ));
                }
            }
        }
    }
}

fn storage(id: Option<Value>) -> Option<Value> {
    let Value::Sequence(id) = id? else {
        return None;
    };
    match id.as_slice() {
        [
            Value::Text(what),
            Value::Global(class),
            Value::Text(key),
            ..,
        ] if what == "storage" => Some(Value::Storage {
            key: key.clone(),
            class: class.clone(),
        }),
        _ => None,
    }
}

fn call(function: Option<Value>, arguments: Option<Value>) -> Option<Value> {
    let (Value::Global(function), Value::Sequence(arguments)) = (function?, arguments?) else {
        return None;
    };
    match (function.as_str(), arguments.as_slice()) {
        ("collections OrderedDict", _) => Some(Value::Dict(Vec::new())),
        (
            "torch._utils _rebuild_tensor_v2",
            [
                Value::Storage { key, class },
                Value::Int(offset),
                Value::Sequence(shape),
                Value::Sequence(strides),
                ..,
            ],
        ) => {
            let sides = |values: &[Value]| -> Option<Vec<i64>> {
                values
                    .iter()
                    .map(|value| match value {
                        Value::Int(side @ 0..=0xffff_ffff) => Some(*side),
                        _ => None,
                    })
                    .collect()
            };
            Some(Value::Tensor {
                key: key.clone(),
                class: class.clone(),
                offset: *offset,
                shape: sides(shape)?,
                strides: sides(strides)?,
            })
        }
        _ => None,
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
