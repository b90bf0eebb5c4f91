//! A write as a message of the log: JSON, so that people and later programs read it.
//! Knows the form; not what a write does.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::index::Write;

/// The version of the form.
const FORMAT: u32 = 1;
/// That of writes with sketches, which programs that only know the one before must not apply.
const SKETCHES: u32 = 2;

#[derive(Serialize)]
struct Told<'a> {
    format: u32,
    write: &'a Write,
}

#[derive(Deserialize)]
struct Read {
    format: u32,
    write: Write,
}

pub(super) fn encode(write: &Write) -> serde_json::Result<Bytes> {
    let told = Told {
        format: match write.has_sketches() {
            true => SKETCHES,
            false => FORMAT,
        },
        write,
    };
    serde_json::to_vec(&told).map(Bytes::from)
}

/// Reads a message.
///
/// # Errors
/// Why it is none that this program understands. It must not be passed over, for others may have understood it.
pub(super) fn decode(payload: &[u8]) -> Result<Write, String> {
    let Read { format, write } =
        serde_json::from_slice(payload).map_err(|error| error.to_string())?;
    match format {
        FORMAT | SKETCHES => Ok(write),
        other => Err(format!(
            "it is of format {other}, and this program reads {FORMAT} and {SKETCHES}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::index::{Expected, Revisions};

    #[test]
    fn writes_read_back_and_null_is_told_from_nothing() {
        for payload in [None, Some(None), Some(Some(json!({ "a": [1, null] })))] {
            let write = Write::Patch {
                id: "a".parse().unwrap(),
                labels: None,
                payload: payload.clone(),
                at_ms: 7,
            };
            let Write::Patch { payload: read, .. } = decode(&encode(&write).unwrap()).unwrap()
            else {
                panic!()
            };
            assert_eq!(read, payload);
        }
    }

    #[test]
    fn a_condition_is_a_write_around_a_write() {
        let delete = json!({ "format": 1, "write": { "delete": { "id": "a" } } });
        let read = decode(delete.to_string().as_bytes()).unwrap();
        let told: Value = serde_json::from_slice(&encode(&read).unwrap()).unwrap();
        assert_eq!(told, delete, "what has none is told as ever");
        let write = Write::If {
            id: "a".parse().unwrap(),
            expected: Expected {
                one_of: Some(Revisions::These(vec!["b".to_owned()])),
                none_of: None,
            },
            write: Box::new(read),
        };
        let read = decode(&encode(&write).unwrap()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{write:?}"));
    }

    #[test]
    fn what_is_not_understood_says_so() {
        let other = json!({ "format": 3, "write": { "activate": 3 } });
        let told = |value: &Value| decode(value.to_string().as_bytes()).unwrap_err();
        assert!(told(&other).contains("format 3"));
        assert!(told(&json!({ "format": 1, "write": { "explode": 3 } })).contains("explode"));
    }
}
