//! Writes an export: a gallery as a tar archive of JSON lines and originals, for programs of any
//! version and plain tools.
//!
//! The archive starts with `export.json`. For each group of images follows `images-000001.jsonl`
//! with one image per line, then the originals of these lines in the same order. The last file is
//! `end.json`, which is missing if the archive was cut off.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    code::{HashCode, Length},
    gallery::{Gallery, GalleryError},
    index::{Damage, FieldPath, FieldType, Filter, ImageId, IndexError, ListQuery, Record, Sketch},
    snapshots::{
        SnapshotError,
        file::blocking,
        now_ms,
        originals::{BATCH_BYTES, PARALLEL_FETCHES, append},
    },
};

/// The version of the export format.
pub(crate) const FORMAT: u32 = 1;
pub(crate) const HEAD: &str = "export.json";
pub(crate) const END: &str = "end.json";
/// Maximum number of images in a group.
pub(crate) const GROUP_SIZE: usize = 1000;

/// The content of `export.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The version of the export format.
    pub format: u32,
    /// The version of the program that wrote it.
    pub program: String,
    /// Milliseconds since 1970.
    pub exported_at_ms: u64,
    /// The model that made the codes.
    pub model: String,
    /// The numeric type in which the codes were made.
    pub precision: String,
    /// The lengths of the codes, ascending.
    pub lengths: Vec<Length>,
    /// The bytes of a sketch, if images have sketches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sketch: Option<usize>,
    /// The declared fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<ExportedField>,
    /// The filter that the images pass, if not all images were exported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
}

/// A declared field of the exported gallery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportedField {
    pub field: FieldPath,
    #[serde(rename = "type")]
    pub kind: FieldType,
}

/// One image, as a line of JSON. Readers ignore members that later versions add.
#[derive(Serialize, Deserialize)]
pub(crate) struct Line {
    pub id: ImageId,
    pub codes: BTreeMap<Length, HashCode>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sketch: Option<Sketch>,
    pub labels: Vec<String>,
    pub payload: Option<Value>,
    /// For other readers. An import determines it from the original.
    pub media_type: String,
    pub created_at_ms: u64,
    pub updated_at_ms: u64,
    /// The original's name in the archive.
    pub original: String,
    /// The SHA-256 of the original, in hexadecimal digits.
    pub sha256: String,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct End {
    pub images: u64,
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// Parses a JSON file of an export.
pub(crate) fn parse<T: DeserializeOwned>(name: &str, json: &[u8]) -> Result<T, SnapshotError> {
    serde_json::from_slice(json).map_err(|error| SnapshotError::Export {
        name: name.to_owned(),
        why: error.to_string(),
    })
}

/// Writes all images of a gallery that pass the filter, oldest first. Returns the number of images,
/// and the images that were left out because they could not be read. The gallery must not change
/// during the export.
///
/// # Errors
/// [`SnapshotError`] if the archive cannot be written or the originals' storage fails.
pub async fn export(
    gallery: &Gallery,
    filter: Option<Filter>,
    to: impl Write + Send + 'static,
) -> Result<(u64, Vec<Damage>), SnapshotError> {
    let generation = gallery.index().generations().active;
    let fields = gallery.index().fields().into_iter();
    let head = Head {
        format: FORMAT,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        exported_at_ms: now_ms(),
        model: generation.model,
        precision: generation.precision,
        lengths: generation.lengths,
        sketch: generation.sketch,
        fields: fields
            .map(|status| ExportedField {
                field: status.field.path,
                kind: status.field.kind,
            })
            .collect(),
        filter: filter.as_ref().map(Filter::to_string),
    };
    let mut query = ListQuery {
        filter,
        limit: GROUP_SIZE,
        ..ListQuery::default()
    };
    // Before the archive begins, because the filter may have a field that is not declared.
    let first = query.clone();
    let index = gallery.index().clone();
    let all = blocking(move || index.list(&first)).await?.total;
    let mut writer = Writer {
        tar: tar::Builder::new(to),
        group: Vec::new(),
        bytes: 0,
        groups: 0,
        images: 0,
    };
    writer = write(writer, move |writer| writer.json(HEAD, &head)).await?;
    let mut damage = Vec::new();
    loop {
        let (index, page) = (gallery.index().clone(), query.clone());
        let listing = blocking(move || index.list(&page)).await?;
        let fetched = stream::iter(listing.records)
            .map(|record| async move { (gallery.original(&record).await, record) });
        let mut fetched = fetched.buffered(PARALLEL_FETCHES);
        while let Some((original, record)) = fetched.next().await {
            match check_exportable(original, &record)? {
                Ok(original) => writer.add(record, original),
                Err(why) => damage.push(why),
            }
            if writer.bytes >= BATCH_BYTES {
                writer = write(writer, Writer::finish_group).await?;
            }
        }
        writer = write(writer, Writer::finish_group).await?;
        query.after = listing.next;
        if query.after.is_none() {
            break;
        }
    }
    let seen = writer.images + damage.len() as u64;
    if seen < all {
        damage.push(Damage {
            what: format!("pages of {} more images", all - seen),
            why: "they cannot be read; `scihcgrl fsck` names them".to_owned(),
        });
    }
    if query.filter.is_some() {
        // It is not known which images on damaged pages pass.
        damage.extend(gallery.index().stats().damage);
    }
    let writer = write(writer, |writer| {
        let images = writer.images;
        writer.json(END, &End { images })?;
        writer.tar.finish()?;
        writer.tar.get_mut().flush()
    });
    Ok((writer.await?.images, damage))
}

/// Returns the original of an image, or the damage that prevents its export.
fn check_exportable(
    original: Result<Option<Bytes>, GalleryError>,
    record: &Record,
) -> Result<Result<Bytes, Damage>, SnapshotError> {
    let damage = |why: &str| Damage {
        what: format!("image {}", record.id),
        why: why.to_owned(),
    };
    match original {
        Ok(Some(_)) if record.codes.is_empty() => Ok(Err(damage("it has no codes"))),
        Ok(Some(original)) => Ok(Ok(original)),
        Ok(None) => Ok(Err(damage("it was changed during the export"))),
        Err(GalleryError::Index(IndexError::Corrupt { what, why })) => {
            Ok(Err(Damage { what, why }))
        }
        Err(error) => Err(error.into()),
    }
}

struct Writer<W: Write> {
    tar: tar::Builder<W>,
    /// The images of the next group.
    group: Vec<(Line, Bytes)>,
    /// The size of the group's originals.
    bytes: u64,
    groups: usize,
    images: u64,
}

/// Writes on a blocking thread.
async fn write<W: Write + Send + 'static>(
    mut writer: Writer<W>,
    what: impl FnOnce(&mut Writer<W>) -> io::Result<()> + Send + 'static,
) -> Result<Writer<W>, SnapshotError> {
    blocking(move || what(&mut writer).map(|()| writer)).await
}

impl<W: Write> Writer<W> {
    fn json(&mut self, name: &str, value: &impl Serialize) -> io::Result<()> {
        append(&mut self.tar, name, &serde_json::to_vec_pretty(value)?)
    }

    fn add(&mut self, record: Record, original: Bytes) {
        self.images += 1;
        self.bytes += original.len() as u64;
        let kind = record.media_type.rsplit('/').next().unwrap_or("image");
        let line = Line {
            id: record.id,
            codes: record
                .codes
                .into_iter()
                .map(|code| (code.length(), code))
                .collect(),
            sketch: record.sketch,
            labels: record.labels,
            payload: record.payload,
            created_at_ms: record.created_at_ms,
            updated_at_ms: record.updated_at_ms,
            original: format!("originals/{:09}.{kind}", self.images),
            sha256: sha256(&original),
            media_type: record.media_type,
        };
        self.group.push((line, original));
    }

    fn finish_group(&mut self) -> io::Result<()> {
        if self.group.is_empty() {
            return Ok(());
        }
        self.groups += 1;
        let mut lines = Vec::new();
        for (line, _) in &self.group {
            serde_json::to_writer(&mut lines, line)?;
            lines.push(b'\n');
        }
        let name = format!("images-{:06}.jsonl", self.groups);
        append(&mut self.tar, &name, &lines)?;
        for (line, original) in self.group.drain(..) {
            append(&mut self.tar, &line.original, &original)?;
        }
        self.bytes = 0;
        Ok(())
    }
}
