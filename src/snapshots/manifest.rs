//! What a snapshot says of itself: of which moment it is, which files it has, and the digest of each.
//! Plain data; knows nothing of what the files hold.

use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::snapshots::SnapshotError;

/// The version of the layout of snapshots.
pub(crate) const FORMAT: u32 = 1;

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// A UUIDv7, so that ids sort by age.
    pub id: Uuid,
    /// The version of the layout.
    pub format: u32,
    /// The version of the program that made it.
    pub program: String,
    /// The version of the store's layout.
    pub schema: u32,
    /// The store's own id, under which its originals are.
    pub store: Uuid,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// How many commits there had been.
    pub commit: u64,
    /// How much of a log was applied, where the gallery has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// How many images it has.
    pub images: u64,
    /// The model whose codes are searched.
    pub model: String,
    /// The numeric type that they are made in.
    pub precision: String,
    /// Whether it has copies of the originals; otherwise they are only where they were.
    pub originals: bool,
    /// The size of all files.
    pub bytes: u64,
    /// Its files.
    pub files: Vec<File>,
}

/// A file of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Its path in the snapshot.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// The SHA-256 of its content, in hexadecimal digits.
    pub sha256: String,
}

/// Reads a manifest.
///
/// # Errors
/// [`SnapshotError::Objects`], [`Manifest`](SnapshotError::Manifest), [`Format`](SnapshotError::Format).
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
