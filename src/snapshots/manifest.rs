//! The manifest of a snapshot: the time and position that it was taken at, its files and their
//! digests.

use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::snapshots::SnapshotError;

/// The version of the layout of snapshots.
pub(crate) const FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// A UUIDv7, so that ids sort by age.
    pub id: Uuid,
    /// The version of the layout of snapshots.
    pub format: u32,
    /// The version of the program that made it.
    pub program: String,
    /// The version of the store's layout.
    pub schema: u32,
    /// The id of the store, which also names the folder of its originals.
    pub store: Uuid,
    /// Milliseconds since 1970.
    pub created_at_ms: u64,
    /// The number of commits up to the snapshot.
    pub commit: u64,
    /// The position in the log up to which writes were applied, if the gallery has a log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    pub images: u64,
    /// The model of the active generation.
    pub model: String,
    /// The numeric type in which its codes were made.
    pub precision: String,
    /// True if the snapshot has copies of the originals.
    pub originals: bool,
    /// The size of all files together.
    pub bytes: u64,
    pub files: Vec<File>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// The path in the snapshot.
    pub name: String,
    pub bytes: u64,
    /// The SHA-256 of its content, in hexadecimal digits.
    pub sha256: String,
}

/// The name of its file, which is written last and deleted first: a folder without it is not a
/// snapshot.
pub(crate) const NAME: &str = "manifest.json";

/// Writes the manifest of the snapshot in a folder.
///
/// # Errors
/// [`SnapshotError::Objects`], [`Manifest`](SnapshotError::Manifest).
pub(crate) async fn write(
    objects: &dyn ObjectStore,
    folder: &Path,
    manifest: &Manifest,
) -> Result<(), SnapshotError> {
    let text = serde_json::to_vec_pretty(manifest)?;
    objects.put(&folder.clone().join(NAME), text.into()).await?;
    Ok(())
}

/// Reads a manifest.
///
/// # Errors
/// [`SnapshotError::Objects`], [`Manifest`](SnapshotError::Manifest),
/// [`Format`](SnapshotError::Format).
pub(crate) async fn read(
    objects: &dyn ObjectStore,
    path: &Path,
) -> Result<Manifest, SnapshotError> {
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let text = objects.get(path).await?.bytes().await?;
    let Version { format } = serde_json::from_slice(&text)?;
    if format != FORMAT {
        return Err(SnapshotError::Format {
            found: format,
            supported: FORMAT,
        });
    }
    Ok(serde_json::from_slice(&text)?)
}
