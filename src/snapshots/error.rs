//! The errors of snapshots, exports and imports. The `http` layer assigns their HTTP status.

use std::{io, path::PathBuf};

use crate::{
    gallery::{GalleryError, OriginalsError},
    index::IndexError,
    inference::registry::RegistryError,
    system::{disk::DiskError, storage::LocationError},
};

#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error(
        "snapshots cannot be stored at {location}; give a folder, or a URL such as s3://bucket/path, with the bucket's settings in the environment"
    )]
    InvalidLocation {
        location: String,
        source: LocationError,
    },
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("another snapshot is being made; retry when it is done")]
    InProgress,
    #[error("there is no snapshot at {location}: manifest.json is missing")]
    NotFound { location: String },
    /// The manifest of a snapshot, or an export, has a format that this program does not read.
    #[error(
        "it has format {found}; this program reads format {supported}, so use the version that wrote it"
    )]
    Format { found: u32, supported: u32 },
    /// A file of the snapshot differs from its entry in the manifest.
    #[error("{name} of the snapshot is damaged: {why}")]
    Damaged { name: String, why: String },
    /// A file of the export is malformed, missing or in the wrong place.
    #[error("{name} of the export: {why}; give an archive that `scihcgrl export` wrote")]
    Export { name: String, why: String },
    #[error("the data folder {} is not empty; give an empty folder or a new one", path.display())]
    NotEmpty { path: PathBuf },
    #[error("cannot parse the manifest of the snapshot: {source}")]
    Manifest {
        #[from]
        source: serde_json::Error,
    },
    #[error("cannot read or write the storage of snapshots: {source}")]
    Objects {
        #[from]
        source: object_store::Error,
    },
    #[error("cannot read or write a file of the snapshot: {source}")]
    File {
        #[from]
        source: io::Error,
    },
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Gallery(#[from] GalleryError),
    #[error(transparent)]
    Originals(#[from] OriginalsError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("a thread panicked while making or restoring a snapshot")]
    Panicked,
}
