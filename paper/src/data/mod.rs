//! The published forms of the papers' data sets, and every format that `scihcgrl train` reads.
//!
//! - `cifar`: CIFAR-10's binary batches
//! - `nus_wide`: NUS-WIDE

mod cifar;
mod nus_wide;

use std::path::Path;

use scihcgrl_model::train::{
    TrainError,
    data::{self, Collection, archive, folder, source::Source},
};

/// Opens a data set for training.
///
/// # Errors
/// [`TrainError::Data`] if the format is unknown, the data set is malformed, or it has fewer than
/// two classes.
pub fn open(path: &Path) -> Result<Collection, TrainError> {
    match published(path)? {
        Some(collection) => collection.log_left_out().require_two_classes(),
        None => data::open(path),
    }
}

/// Opens a data set in the form that its authors published.
fn published(path: &Path) -> Result<Option<Collection>, TrainError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.to_lowercase();
    if path.is_dir() {
        if path.join(nus_wide::LIST).is_file() {
            return nus_wide::open(path).map(Some);
        }
        let files = folder::list(path)?.into_iter();
        let files: Vec<_> = files
            .map(|(name, path)| (name, Source::File(path)))
            .collect();
        return batches(path, &files);
    }
    let packed = name.ends_with(".tgz") || name.ends_with(".tar.gz");
    if packed || name.ends_with(".tar") {
        let (files, _) = archive::list(path, packed)?;
        let last = |name: &str| name.rsplit('/').next().unwrap_or(name).to_owned();
        let files: Vec<_> = files
            .into_iter()
            .map(|(name, source)| (last(&name), source))
            .collect();
        return batches(path, &files);
    }
    if name.ends_with(".bin") {
        cifar::file(path).map(Some)
    } else {
        Ok(None)
    }
}

fn batches(path: &Path, files: &[(String, Source)]) -> Result<Option<Collection>, TrainError> {
    let batches = cifar::among(files);
    batches
        .map(|batches| cifar::open(path, batches))
        .transpose()
}

#[cfg(test)]
mod samples;
