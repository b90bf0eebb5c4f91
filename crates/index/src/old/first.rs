//! Schema 1: records and originals by image id, codes with ids in pages of 64 (migrations/0001_initial.json).
//! Knows its keys and values; nothing of any other schema.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use crate::code::{HashCode, Length};

use super::{Generation, ImageId, IndexError, Times, WholeImage, corrupt};
use crate::page;

const CONTENT: u8 = b'c';
const PAGE: u8 = b'p';
const RECORD: u8 = b'r';

#[derive(Deserialize)]
struct Stored {
    labels: Vec<String>,
    payload: Option<Value>,
    media_type: String,
    created_at_ms: u64,
    updated_at_ms: u64,
}

pub(super) fn page(
    db: &sled::Db,
    generation: &Generation,
    from: u64,
) -> Result<Option<(Vec<WholeImage>, u64)>, IndexError> {
    let key = |number: u64| {
        let start = [&[PAGE], &generation.number.to_be_bytes()[..]].concat();
        [start, number.to_be_bytes().to_vec()].concat()
    };
    let Some(found) = db.range(key(from)..=key(u64::MAX)).next() else {
        return Ok(None);
    };
    let (found, value) = found?;
    let number = found
        .last_chunk()
        .map_or(0, |last| u64::from_be_bytes(*last));
    let what = || format!("code page {number} of generation {}", generation.number);
    let body = page::open(&value).map_err(|why| corrupt(what(), why))?;
    let slots = slots(body, &generation.lengths);
    let slots = slots.ok_or_else(|| corrupt(what(), "it is malformed"))?;
    let images = slots.into_iter().map(|(id, codes)| image(db, id, codes));
    Ok(Some((images.collect::<Result<_, _>>()?, number + 1)))
}

/// Of each used slot the id and the codes: its number, the codes in order, the length of the id, the id.
fn slots(mut body: &[u8], lengths: &[Length]) -> Option<Vec<(ImageId, Vec<HashCode>)>> {
    let mut found = Vec::new();
    while let Some((_, rest)) = body.split_first() {
        body = rest;
        let mut take = |count: usize| {
            let (head, rest) = body.split_at_checked(count)?;
            body = rest;
            Some(head)
        };
        let mut codes = Vec::new();
        for &length in lengths {
            let bytes = take(length.bits() / 8)?.iter();
            let word = bytes.fold(0, |word, byte| word << 8 | u64::from(*byte));
            codes.push(HashCode::from_word(length, word));
        }
        let size = take(1)?[0];
        let id = str::from_utf8(take(size.into())?).ok()?;
        found.push((id.parse().ok()?, codes));
    }
    Some(found)
}

fn image(db: &sled::Db, id: ImageId, codes: Vec<HashCode>) -> Result<WholeImage, IndexError> {
    let get = |prefix: u8, what: &str| {
        let value = db.get([&[prefix], id.as_str().as_bytes()].concat())?;
        value.ok_or_else(|| corrupt(format!("the {what} of image {id}"), "it is missing"))
    };
    let stored: Stored = serde_json::from_slice(&get(RECORD, "record")?)
        .map_err(|error| corrupt(format!("the record of image {id}"), error))?;
    // The size of the media type in 8 bytes, the media type, the bytes.
    let content = get(CONTENT, "original")?;
    let size = content.first_chunk().map(|size| u64::from_be_bytes(*size));
    let start = size.and_then(|size| usize::try_from(size).ok()?.checked_add(8));
    let original = start.and_then(|start| content.get(start..));
    let malformed = || corrupt(format!("the original of image {id}"), "it is malformed");
    let original = Bytes::copy_from_slice(original.ok_or_else(malformed)?);
    Ok(WholeImage {
        codes,
        sketch: None,
        labels: stored.labels,
        payload: stored.payload,
        media_type: stored.media_type,
        original,
        times: Times {
            created_at_ms: stored.created_at_ms,
            updated_at_ms: stored.updated_at_ms,
        },
        id,
    })
}
