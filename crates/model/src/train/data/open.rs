//! Opens a data set of any format.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::train::{
    data::{
        collection::{Collection, Content, Item, invalid},
        formats::{archive, folder, manifest},
        source::Source,
    },
    error::TrainError,
};

/// The formats, for messages.
const FORMATS: &str = "a folder of class folders, a .tar, .tar.gz or .tgz archive of such, or a .csv or .jsonl manifest";

/// Opens a data set of any format for training, and logs the files that are left out. Does not read
/// any picture.
///
/// # Errors
/// As [`list`], and [`TrainError::Data`] if it has fewer than two classes.
pub fn open(path: &Path) -> Result<Collection, TrainError> {
    list(path)?.log_left_out().require_two_classes()
}

/// Lists a data set of any format. It may be a part of a data set, with a single class.
///
/// # Errors
/// [`TrainError::Data`] if the format is unknown, the data set is malformed, or a class has no
/// image.
pub fn list(path: &Path) -> Result<Collection, TrainError> {
    let metadata = fs::metadata(path)
        .map_err(|error| invalid(path, format!("{error}; it must be {FORMATS}")))?;
    if metadata.is_dir() {
        return folder::open(path);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.to_lowercase();
    match name.rsplit('.').next() {
        Some("tar") => archive::open(path, false),
        Some("tgz") => archive::open(path, true),
        Some("gz") if name.ends_with(".tar.gz") => archive::open(path, true),
        Some("csv") => manifest::csv(path),
        Some("jsonl") => manifest::jsonl(path, true),
        _ => Err(invalid(
            path,
            format!("the name has no known extension; it must be {FORMATS}"),
        )),
    }
}

impl Collection {
    /// Makes a data set with one meaningless class, of all files below these folders, for training
    /// without labels.
    ///
    /// # Errors
    /// [`TrainError::Data`] if a folder cannot be read, or no folder has a file.
    pub fn unlabelled(folders: &[PathBuf]) -> Result<Collection, TrainError> {
        let (mut items, mut left_out) = (Vec::new(), Vec::new());
        for path in folders {
            let (tree, unreadable) = folder::walk(path)?;
            left_out.extend(unreadable);
            items.extend(tree.files.into_iter().map(|file| Item {
                name: file.relative.display().to_string(),
                set: 0,
                source: Source::File(file.path),
                content: Content::Encoded,
            }));
        }
        let path = folders.first().cloned().unwrap_or_default();
        if items.is_empty() {
            return Err(invalid(
                &path,
                "it has no file; it must have images, in folders of any depth",
            ));
        }
        let collection = Collection {
            path,
            classes: vec!["unlabelled".to_owned()],
            sets: vec![vec![0]],
            items,
            left_out,
        };
        Ok(collection.log_left_out())
    }

    /// Makes a data set of the images in a manifest (`.jsonl`), which need no labels. An image
    /// without labels belongs to a set without classes.
    ///
    /// # Errors
    /// [`TrainError::Data`] if the manifest cannot be read, or names a file that does not exist.
    pub fn from_manifest(path: &Path) -> Result<Collection, TrainError> {
        manifest::jsonl(path, false)
    }
}
