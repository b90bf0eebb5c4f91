//! Why a snapshot cannot be made, listed or restored.
//! Knows no status codes.

use std::{io, path::PathBuf};

use crate::{
    gallery::{GalleryError, OriginalsError},
    index::IndexError,
    inference::registry::RegistryError,
    system::{disk::DiskError, storage::PlaceError},
};

/// Every failure of snapshots.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Not a place that can be used.
    #[error(
        "{place} is no place for snapshots; give a folder, or a URL such as s3://bucket/path, with its settings in the environment"
    )]
    StorageLocation {
        /// What was given.
        place: String,
        /// Why not.
        source: PlaceError,
    },
    /// It would fill the disk.
    #[error(transparent)]
    Disk {
        /// Which.
        #[from]
        source: DiskError,
    },
    /// One is being made.
    #[error("a snapshot is being made; there can be another when it is done")]
    UnderWay,
    /// No snapshot lies there.
    #[error("there is no snapshot at {place}: it has no manifest.json")]
    None {
        /// What was given.
        place: String,
    },
    /// A manifest that this program does not understand.
    #[error(
        "it is of format {found}, and this program reads format {supported}; take the program that is as new as it"
    )]
    Format {
        /// The snapshot's.
        found: u32,
        /// This program's.
        supported: u32,
    },
    /// A file that is not as its manifest says.
    #[error("{name} of the snapshot is damaged: {why}")]
    Damaged {
        /// Which.
        name: String,
        /// How.
        why: String,
    },
    /// A file that is not as an export has it.
    #[error("{name} of the export: {why}; `scihcgrl export` writes one")]
    Export {
        /// Which.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// A data folder that holds something.
    #[error("the data folder {} is not empty; a snapshot is restored to an empty or a new one", path.display())]
    NotEmpty {
        /// Which.
        path: PathBuf,
    },
    /// The manifest is no JSON of its kind.
    #[error("the manifest of the snapshot cannot be read: {source}")]
    Manifest {
        /// Why not.
        #[from]
        source: serde_json::Error,
    },
    /// The place failed.
    #[error("the place of snapshots failed: {source}")]
    Objects {
        /// How.
        #[from]
        source: object_store::Error,
    },
    /// A file could not be read or written.
    #[error("a file of the snapshot: {source}")]
    File {
        /// Why not.
        #[from]
        source: io::Error,
    },
    /// The index could not be copied or opened.
    #[error(transparent)]
    Index {
        /// Why not.
        #[from]
        source: IndexError,
    },
    /// The gallery could not be read.
    #[error(transparent)]
    Gallery {
        /// Why not.
        #[from]
        source: GalleryError,
    },
    /// Originals could not be read or written.
    #[error(transparent)]
    Originals {
        /// Why not.
        #[from]
        source: OriginalsError,
    },
    /// The models could not be read.
    #[error(transparent)]
    Registry {
        /// Why not.
        #[from]
        source: RegistryError,
    },
    /// A thread panicked.
    #[error("making the snapshot panicked")]
    Panicked,
}
