//! An image that a job learns from, as it is chosen: what finds it, with its labels, and nothing that takes memory.
//! Knows originals and archives; neither which are chosen nor what becomes of them.

use std::path::Path;

use crate::{
    index::{self, ImageId, Record},
    jobs::{error::JobError, learning::archive},
    train::data::Item,
};

/// An image that is learned from, with those of its labels that are classes.
pub struct Chosen {
    pub from: From,
    pub labels: Vec<String>,
}

/// Where it is.
pub enum From {
    Gallery(OriginalKey),
    Archive(Item),
    /// A file of the archive that is of no class, and why.
    Uncoded(String, String),
}

/// What finds an original. A gallery has many, and the service that chooses among them needs its memory.
pub struct OriginalKey {
    pub id: ImageId,
    pub name: Option<index::OriginalKey>,
    pub bytes: u64,
}

impl From {
    pub fn gallery(record: Record) -> Self {
        From::Gallery(OriginalKey {
            id: record.id,
            name: record.original,
            bytes: record.bytes,
        })
    }
}

impl Chosen {
    pub fn bytes(&self) -> u64 {
        match &self.from {
            From::Gallery(original) => original.bytes,
            From::Archive(item) => item.size(),
            From::Uncoded(..) => 0,
        }
    }
}

/// The images of an archive's folders, or of some of them; and what else is in it.
pub fn of_archive(
    archive: &Path,
    folders: &[String],
) -> Result<(Vec<Chosen>, Vec<Chosen>), JobError> {
    let mut listed = archive::list(archive)?;
    let left_out = std::mem::take(&mut listed.left_out).into_iter();
    let left_out = left_out.map(|(name, reason)| Chosen {
        labels: Vec::new(),
        from: From::Uncoded(name, reason),
    });
    let left_out = left_out.collect();
    let items = std::mem::take(&mut listed.items).into_iter();
    let chosen = items.map(|item| Chosen {
        labels: listed.classes_of(&item).cloned().collect(),
        from: From::Archive(item),
    });
    let wanted =
        |one: &Chosen| folders.is_empty() || one.labels.iter().any(|label| folders.contains(label));
    Ok((chosen.filter(wanted).collect(), left_out))
}
