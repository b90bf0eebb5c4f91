//! The stack machine of Python's pickles, as far as a state dict needs it: values, but no call of anything.
//! Knows nothing of tensors' bytes, which follow the pickles.

use std::collections::HashMap;

/// What the number that `torch.save` begins with is read as.
pub(super) const MAGIC: &str = "a long that torch.save begins with";

/// What a pickle builds.
#[derive(Clone, Debug)]
pub(super) enum Value {
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

/// Bytes that are read from the front.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes }
    }

    /// The next bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
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
    pub fn pickle(&mut self) -> Result<Value, String> {
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
                // A call, or a new object of a class: for what a state dict holds the same.
                b'R' | 0x81 => {
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
        ("torch Size", [sides]) => Some(sides.clone()),
        (
            "torch.nn.parameter Parameter" | "torch._utils _rebuild_parameter",
            [tensor @ Value::Tensor { .. }, ..],
        ) => Some(tensor.clone()),
        (
            "torch._utils _rebuild_tensor" | "torch._utils _rebuild_tensor_v2",
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
