//! An image to learn from: its location and its labels. The type is small, because a gallery has
//! many images and the service needs its memory.

use std::path::Path;

use crate::{
    index::{ImageId, OriginalKey, Record},
    jobs::{error::JobError, learning::service::archive},
    train::data::Item,
};

/// An image to learn from, with those of its labels that are classes.
pub struct ChosenImage {
    pub source: Source,
    pub labels: Vec<String>,
}

pub enum Source {
    Gallery(GalleryImage),
    Archive(Item),
    /// The name of a file in the archive that is of no class, and the reason.
    Unusable(String, String),
}

/// The part of a record that is needed to read the original.
pub struct GalleryImage {
    pub id: ImageId,
    pub original: Option<OriginalKey>,
    pub bytes: u64,
}

impl Source {
    pub fn gallery(record: Record) -> Self {
        Source::Gallery(GalleryImage {
            id: record.id,
            original: record.original,
            bytes: record.bytes,
        })
    }
}

impl ChosenImage {
    pub fn bytes(&self) -> u64 {
        match &self.source {
            Source::Gallery(image) => image.bytes,
            Source::Archive(item) => item.size(),
            Source::Unusable(..) => 0,
        }
    }
}

/// Returns the images in the given folders of an archive, or in all if none is given, and the files
/// that are of no class.
pub fn choose_from_archive(
    archive: &Path,
    folders: &[String],
) -> Result<(Vec<ChosenImage>, Vec<ChosenImage>), JobError> {
    let mut listed = archive::list(archive)?;
    let left_out = std::mem::take(&mut listed.left_out).into_iter();
    let left_out = left_out.map(|(name, reason)| ChosenImage {
        labels: Vec::new(),
        source: Source::Unusable(name, reason),
    });
    let left_out = left_out.collect();
    let items = std::mem::take(&mut listed.items).into_iter();
    let chosen = items.map(|item| ChosenImage {
        labels: listed.classes_of(&item).cloned().collect(),
        source: Source::Archive(item),
    });
    let wanted = |one: &ChosenImage| {
        folders.is_empty() || one.labels.iter().any(|label| folders.contains(label))
    };
    Ok((chosen.filter(wanted).collect(), left_out))
}
