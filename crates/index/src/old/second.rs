//! Schema 2: rows and codes in pages of 32 by sequence number, originals and payloads beside them (migrations/0002_pages.json).
//! Knows its keys and values; what is as it is today, today's code reads.

use bytes::Bytes;
use serde::Deserialize;

use super::{Generation, IndexError, Times, WholeImage, corrupt};
use crate::{
    damage::Damage,
    key::{self, Key},
    names, page,
    record::{ImageId, PackedId},
};

/// The originals' bytes, by sequence number.
const ORIGINAL: u8 = b'o';

/// A row; today's has the original's name besides.
#[derive(Deserialize)]
struct Row {
    id: PackedId,
    _version: u8,
    payload: bool,
    labels: Vec<u32>,
    media_type: u32,
    _bytes: u64,
    created_at_ms: u64,
    updated_after_ms: u64,
}

pub(super) fn page(
    db: &sled::Db,
    generation: &Generation,
    from: u64,
) -> Result<Option<(Vec<WholeImage>, u64)>, IndexError> {
    let from = u32::try_from(from).unwrap_or(u32::MAX);
    let Some(found) = db.range(key::rows(from..u32::MAX)).next() else {
        return Ok(None);
    };
    let (found, value) = found?;
    let Some(Key::Rows(number)) = Key::from_bytes(&found) else {
        return Err(corrupt("a page of rows".to_owned(), "its key is malformed"));
    };
    let rows = page::decode_slots::<Row>(&value).map_err(|why| Damage::rows(number, why))?;
    let damaged = |why: &str| Damage::codes(number, generation.number, why);
    let codes = db.get(generation.codes_key(number))?;
    let codes = codes.ok_or_else(|| damaged("it is missing"))?;
    let codes = page::decode_codes(&codes, &generation.lengths).map_err(damaged)?;
    let mut images = Vec::new();
    for (slot, row) in rows {
        let words = codes
            .get(&slot)
            .ok_or_else(|| damaged("it lacks an image"))?;
        let sequence = number * page::SLOTS + u32::from(slot);
        images.push(image(db, sequence, row, generation.codes(words))?);
    }
    Ok(Some((images, u64::from(number) + 1)))
}

fn image(
    db: &sled::Db,
    sequence: u32,
    row: Row,
    codes: Vec<crate::code::HashCode>,
) -> Result<WholeImage, IndexError> {
    let id = ImageId::from(row.id);
    let payload = match row.payload {
        false => None,
        true => {
            let what = || format!("the payload of image {id}");
            let value = db.get(Key::Payload(sequence).to_bytes())?;
            let value = value.ok_or_else(|| corrupt(what(), "it is missing"))?;
            let json = page::open(&value).map_err(|why| corrupt(what(), why))?;
            Some(serde_json::from_slice(json).map_err(|error| corrupt(what(), error))?)
        }
    };
    let original = db.get([&[ORIGINAL], &sequence.to_be_bytes()[..]].concat())?;
    let labels = row.labels.iter().map(|label| names::name(db, *label));
    Ok(WholeImage {
        codes,
        sketch: None,
        labels: labels.collect::<Result<_, _>>()?,
        payload,
        media_type: names::name(db, row.media_type)?,
        original: original.map_or(Bytes::new(), |bytes| Bytes::copy_from_slice(&bytes)),
        times: Times {
            created_at_ms: row.created_at_ms,
            updated_at_ms: row.created_at_ms + row.updated_after_ms,
        },
        id,
    })
}
