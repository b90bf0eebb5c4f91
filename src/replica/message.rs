//! A write as a message of the log: a header line with the format and the body's checksum, which
//! every program from this version on can read, then the write as JSON.

use bytes::Bytes;
use serde::Deserialize;

use crate::index::Write;

/// The first bytes of every message, of any format.
const PREFIX: &str = "scihcgrl ";
/// The format that this program writes.
const FORMAT: u32 = 1;
/// The formats of messages without a header line, as earlier programs wrote them.
const OLD_FORMATS: [u32; 2] = [1, 2];

/// A message without a header line, as earlier programs wrote it.
#[derive(Deserialize)]
struct OldMessage {
    format: u32,
    write: Write,
}

/// Why a message cannot be decoded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum DecodeError {
    /// The header line is damaged, or the checksum is wrong. Every replica skips the message.
    Broken,
    /// A newer program may have written it, and other replicas may have applied it, so it must not
    /// be skipped.
    NotUnderstood(String),
}

pub(crate) fn encode(write: &Write) -> serde_json::Result<Bytes> {
    let body = serde_json::to_vec(write)?;
    let mut message = format!("{PREFIX}{FORMAT} {:08x}\n", crc32fast::hash(&body)).into_bytes();
    message.extend(body);
    Ok(message.into())
}

pub(crate) fn decode(message: &[u8]) -> Result<Write, DecodeError> {
    let Some((format, body)) = split_header(message) else {
        let earlier: Option<OldMessage> = serde_json::from_slice(message).ok();
        let earlier = earlier.filter(|message| OLD_FORMATS.contains(&message.format));
        return earlier.map_or(Err(DecodeError::Broken), |message| Ok(message.write));
    };
    if format != FORMAT {
        let why = format!("it is of format {format}, and this program reads {FORMAT}");
        return Err(DecodeError::NotUnderstood(why));
    }
    serde_json::from_slice(body).map_err(|error| DecodeError::NotUnderstood(error.to_string()))
}

/// Returns a message's format and body, if the checksum is right.
fn split_header(message: &[u8]) -> Option<(u32, &[u8])> {
    let end = message.iter().position(|byte| *byte == b'\n')?;
    let line = str::from_utf8(&message[..end]).ok()?;
    let (format, checksum) = line.strip_prefix(PREFIX)?.split_once(' ')?;
    let (format, checksum) = (
        format.parse().ok()?,
        u32::from_str_radix(checksum, 16).ok()?,
    );
    let body = &message[end + 1..];
    (checksum == crc32fast::hash(body)).then_some((format, body))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::index::{Precondition, Revisions};

    fn message(format: u32, body: &str) -> Vec<u8> {
        let checksum = crc32fast::hash(body.as_bytes());
        format!("{PREFIX}{format} {checksum:08x}\n{body}").into_bytes()
    }

    #[test]
    fn writes_read_back_and_a_null_payload_differs_from_none() {
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
    fn a_conditional_write_wraps_a_write() {
        let delete = json!({ "delete": { "id": "a" } }).to_string();
        let read = decode(&message(1, &delete)).unwrap();
        let encoded = encode(&read).unwrap();
        assert_eq!(
            encoded,
            message(1, &delete),
            "one without a condition stays as it was"
        );
        let write = Write::If {
            id: "a".parse().unwrap(),
            expected: Precondition {
                one_of: Some(Revisions::These(vec!["b".to_owned()])),
                none_of: None,
                passes: None,
            },
            write: Box::new(read),
        };
        let read = decode(&encode(&write).unwrap()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{write:?}"));
    }

    #[test]
    fn messages_of_newer_programs_differ_from_broken_ones() {
        let not_understood = |message: &[u8]| match decode(message) {
            Err(DecodeError::NotUnderstood(why)) => why,
            other => panic!("{other:?}"),
        };
        let later = message(3, r#"{"activate": 3}"#);
        assert!(not_understood(&later).contains("format 3"));
        let unknown = message(1, r#"{"explode": 3}"#);
        assert!(not_understood(&unknown).contains("explode"));
        assert!(not_understood(&message(1, "")).contains("EOF"));
        let sound = message(1, r#"{"activate":3}"#);
        assert!(decode(&sound).is_ok());
        let earlier = br#"{"format":2,"write":{"activate":3}}"#;
        assert!(decode(earlier).is_ok());
        // No changed byte turns the message into another write.
        for at in 0..sound.len() {
            let mut changed = sound.clone();
            changed[at] ^= 0x10;
            match decode(&changed) {
                Err(DecodeError::Broken) => {}
                Err(DecodeError::NotUnderstood(why)) => assert!(why.contains("format"), "{why}"),
                Ok(_) => panic!("byte {at}"),
            }
        }
        for broken in [
            &b""[..],
            b"\n",
            b"{}",
            b"scihcgrl",
            b"\xff\n",
            &sound[..sound.len() - 1],
        ] {
            assert!(
                matches!(decode(broken), Err(DecodeError::Broken)),
                "{broken:?}"
            );
        }
    }
}
