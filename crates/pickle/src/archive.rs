//! `torch.save` files since PyTorch 1.6: zip archives without compression, with the pickle in one
//! file and each storage in another.

use std::{collections::HashMap, io::Cursor};

use zip::{CompressionMethod, ZipArchive};

use crate::{Parts, Reader, entries};

/// Reads the entries from `<name>/data.pkl` and the storages from `<name>/data/<key>`.
pub(crate) fn read(bytes: &[u8]) -> Result<Parts<'_>, String> {
    let damaged = |error| format!("its zip archive is damaged: {error}");
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(damaged)?;
    let (mut pickle, mut storages) = (None, HashMap::new());
    for number in 0..archive.len() {
        let part = archive.by_index_raw(number).map_err(damaged)?;
        let name = part.name();
        if part.compression() != CompressionMethod::Stored {
            return Err(format!(
                "'{name}' in its zip archive is compressed; torch.save never compresses"
            ));
        }
        // Borrows the data: a copy would hold the weights in memory twice.
        let data = range(bytes, part.data_start(), part.size()).unwrap_or_default();
        if crc32fast::hash(data) != part.crc32() {
            return Err(format!("'{name}' in its zip archive is damaged"));
        }
        match name.split_once('/') {
            Some((_, "data.pkl")) => pickle = Some(data),
            Some((_, path)) => {
                if let Some(key) = path.strip_prefix("data/") {
                    storages.insert(key.into(), data);
                }
            }
            None => {}
        }
    }
    let pickle =
        pickle.ok_or("it is a zip archive, but not one of torch.save: 'data.pkl' is missing")?;
    Ok((entries(&Reader::new(pickle).pickle()?)?, storages))
}

/// Returns a range of a file. Returns `None` if the file ends within it.
fn range(bytes: &[u8], start: u64, size: u64) -> Option<&[u8]> {
    let rest = bytes.get(usize::try_from(start).ok()?..)?;
    rest.get(..usize::try_from(size).ok()?)
}
