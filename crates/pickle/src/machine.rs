//! The stack machine of Python's pickles, with the instructions that a state dict needs. It builds
//! values and calls nothing.

use std::{collections::HashMap, rc::Rc};

/// The text that stands for the magic number of `torch.save` files.
pub(crate) const MAGIC: &str = "a long that torch.save begins with";
/// Maximum number of steps: instructions of a file plus items that they copy. A tensor takes about
/// 25.
const MAX_STEPS: usize = 1 << 20;
/// Maximum nesting of lists, tuples and dicts. A state dict has a depth of 4.
const MAX_DEPTH: usize = 64;
/// Maximum number of dimensions of a tensor.
const MAX_DIMENSIONS: usize = 8;

/// A value that a pickle builds. Clones share their contents, so it is cheap to fetch one from the
/// memo.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Nothing,
    Int(i64),
    Text(Rc<str>),
    Global(Rc<str>),
    Sequence(Rc<Items>),
    /// Keys and values alternate.
    Dict(Rc<Items>),
    Storage(Storage),
    Tensor(Rc<Tensor>),
}

/// The items of a list, tuple or dict.
#[derive(Clone, Debug, Default)]
pub(crate) struct Items {
    pub values: Vec<Value>,
    /// The depth of the collections in it.
    depth: usize,
}

/// The key of a tensor's bytes, and their `torch` class.
#[derive(Clone, Debug)]
pub(crate) struct Storage {
    pub key: Rc<str>,
    pub class: Rc<str>,
}

/// A view of a storage, in elements.
#[derive(Debug)]
pub(crate) struct Tensor {
    pub storage: Storage,
    pub offset: i64,
    pub shape: Vec<i64>,
    pub strides: Vec<i64>,
}

/// Reads bytes from the front and runs pickles, within the limits.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    steps: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes, steps: 0 }
    }

    /// Returns the next bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self
            .bytes
            .split_at_checked(count)
            .ok_or("it is cut short")?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (taken, rest) = self.bytes.split_first_chunk().ok_or("it is cut short")?;
        self.bytes = rest;
        Ok(*taken)
    }

    fn number(&mut self, bytes: usize) -> Result<usize, String> {
        Ok(self
            .take(bytes)?
            .iter()
            .rev()
            .fold(0, |number, &byte| number << 8 | usize::from(byte)))
    }

    fn text(&mut self, length: usize) -> Result<&'a str, String> {
        std::str::from_utf8(self.take(length)?).map_err(|error| error.to_string())
    }

    /// Counts steps against the limit.
    fn count_steps(&mut self, steps: usize) -> Result<(), String> {
        self.steps = self.steps.saturating_add(steps);
        if self.steps > MAX_STEPS {
            Err(format!("its pickle takes more than {MAX_STEPS} steps"))
        } else {
            Ok(())
        }
    }

    /// Adds values to a list or dict. Copies it first if others share it.
    fn add(&mut self, to: &mut Rc<Items>, values: Vec<Value>) -> Result<(), String> {
        if Rc::strong_count(to) > 1 {
            self.count_steps(to.values.len())?;
        }
        let to = Rc::make_mut(to);
        let deepest = values.iter().map(Value::depth).max();
        to.depth = to.depth.max(deepest.map_or(0, |depth| depth + 1));
        if to.depth > MAX_DEPTH {
            return Err(format!("its values are nested more than {MAX_DEPTH} deep"));
        }
        to.values.extend(values);
        Ok(())
    }

    fn tuple(&mut self, values: Vec<Value>) -> Result<Value, String> {
        let mut items = Rc::default();
        self.add(&mut items, values)?;
        Ok(Value::Sequence(items))
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let end = self
            .bytes
            .iter()
            .position(|&byte| byte == b'\n')
            .ok_or("it is cut short")?;
        let line = self.text(end)?;
        self.take(1)?;
        Ok(line)
    }

    /// Runs one pickle of protocol 2, up to its STOP.
    pub fn pickle(&mut self) -> Result<Value, String> {
        let (mut stack, mut marks, mut memo) = (Vec::<Value>::new(), Vec::new(), HashMap::new());
        let damaged = || "its pickle is damaged".to_owned();
        loop {
            self.count_steps(1)?;
            let [instruction] = self.array()?;
            match instruction {
                0x80 => drop(self.take(1)?),
                b'.' => return stack.pop().ok_or_else(damaged),
                b'N' | 0x88 | 0x89 => stack.push(Value::Nothing),
                b'K' => stack.push(Value::Int(u8::from_le_bytes(self.array()?).into())),
                b'M' => stack.push(Value::Int(u16::from_le_bytes(self.array()?).into())),
                b'J' => stack.push(Value::Int(i32::from_le_bytes(self.array()?).into())),
                0x8a => {
                    let length = self.number(1)?;
                    let long = self.take(length)?;
                    // Only the file's magic number is this long.
                    let magic = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
                    stack.push(if long == magic {
                        Value::Text(MAGIC.into())
                    } else {
                        Value::Nothing
                    });
                }
                b'X' => {
                    let length = self.number(4)?;
                    stack.push(Value::Text(self.text(length)?.into()));
                }
                b'c' => {
                    let global = format!("{} {}", self.line()?, self.line()?);
                    stack.push(Value::Global(global.into()));
                }
                b'q' => {
                    drop(memo.insert(self.number(1)?, stack.last().ok_or_else(damaged)?.clone()));
                }
                b'r' => {
                    drop(memo.insert(self.number(4)?, stack.last().ok_or_else(damaged)?.clone()));
                }
                b'h' => stack.push(memo.get(&self.number(1)?).ok_or_else(damaged)?.clone()),
                b'j' => stack.push(memo.get(&self.number(4)?).ok_or_else(damaged)?.clone()),
                b'}' => stack.push(Value::Dict(Rc::default())),
                b']' | b')' => stack.push(Value::Sequence(Rc::default())),
                b'(' => marks.push(stack.len()),
                b't' => {
                    let items = stack.split_off(marks.pop().ok_or_else(damaged)?.min(stack.len()));
                    stack.push(self.tuple(items)?);
                }
                tuple @ 0x85..=0x87 => {
                    let start = stack
                        .len()
                        .checked_sub(usize::from(tuple - 0x84))
                        .ok_or_else(damaged)?;
                    let items = stack.split_off(start);
                    stack.push(self.tuple(items)?);
                }
                append @ (b'e' | b'a') => {
                    let start = if append == b'a' {
                        stack.len().checked_sub(1)
                    } else {
                        marks.pop()
                    };
                    let items = stack.split_off(start.ok_or_else(damaged)?.min(stack.len()));
                    let Some(Value::Sequence(list)) = stack.last_mut() else {
                        return Err(damaged());
                    };
                    self.add(list, items)?;
                }
                set @ (b'u' | b's') => {
                    let start = if set == b's' {
                        stack.len().checked_sub(2)
                    } else {
                        marks.pop()
                    };
                    let items = stack.split_off(start.ok_or_else(damaged)?.min(stack.len()));
                    let Some(Value::Dict(dict)) = stack.last_mut() else {
                        return Err(damaged());
                    };
                    if items.len() % 2 == 1 {
                        return Err(damaged());
                    }
                    self.add(dict, items)?;
                }
                // Ignores the attributes of an object: no tensor needs those of a state dict.
                b'b' => drop(stack.pop()),
                b'Q' => {
                    let id = stack.pop();
                    stack.push(storage(id).ok_or_else(damaged)?);
                }
                // A call, or a new object of a class: both mean the same in a state dict.
                b'R' | 0x81 => {
                    let (arguments, function) = (stack.pop(), stack.pop());
                    stack.push(
                        construct(function, arguments)
                            .ok_or_else(|| "it holds an unknown object".to_owned())?,
                    );
                }
                other => {
                    return Err(format!(
                        "its pickle has the instruction {other:#x}, which no state dict needs"
                    ));
                }
            }
        }
    }
}

impl Value {
    fn depth(&self) -> usize {
        match self {
            Value::Sequence(items) | Value::Dict(items) => items.depth,
            _ => 0,
        }
    }
}

/// Converts a persistent id to the storage that it names.
fn storage(id: Option<Value>) -> Option<Value> {
    let Value::Sequence(id) = id? else {
        return None;
    };
    match id.values.as_slice() {
        [Value::Text(tag), Value::Global(class), Value::Text(key), ..] if &**tag == "storage" => {
            Some(Value::Storage(Storage {
                key: key.clone(),
                class: class.clone(),
            }))
        }
        _ => None,
    }
}

/// Returns the value that a call of a known function stands for. Returns `None` for other
/// functions.
fn construct(function: Option<Value>, arguments: Option<Value>) -> Option<Value> {
    let (Value::Global(function), Value::Sequence(arguments)) = (function?, arguments?) else {
        return None;
    };
    match (&*function, arguments.values.as_slice()) {
        ("collections OrderedDict", _) => Some(Value::Dict(Rc::default())),
        ("torch Size", [shape]) => Some(shape.clone()),
        (
            "torch.nn.parameter Parameter" | "torch._utils _rebuild_parameter",
            [tensor @ Value::Tensor(_), ..],
        ) => Some(tensor.clone()),
        (
            "torch._utils _rebuild_tensor" | "torch._utils _rebuild_tensor_v2",
            [
                Value::Storage(storage),
                Value::Int(offset),
                Value::Sequence(shape),
                Value::Sequence(strides),
                ..,
            ],
        ) => {
            let numbers = |items: &Items| -> Option<Vec<i64>> {
                let values = items.values.iter().map(|value| match value {
                    Value::Int(number @ 0..=0xffff_ffff) => Some(*number),
                    _ => None,
                });
                (items.values.len() <= MAX_DIMENSIONS).then(|| values.collect())?
            };
            Some(Value::Tensor(Rc::new(Tensor {
                storage: storage.clone(),
                offset: *offset,
                shape: numbers(shape)?,
                strides: numbers(strides)?,
            })))
        }
        _ => None,
    }
}
