//! Snapshots of a gallery and its models at one moment, in a folder or a bucket. Also exports and
//! imports.
//!
//! - `export`, `import`: write and read an archive that any version of the program can read
//! - `restore`: restores a snapshot to a data folder
//! - `manifest`: lists the files of a snapshot
//! - `originals`: originals in tar files
//! - `file`: streams files and computes their digests
//! - `error`: the errors of snapshots, exports and imports

mod error;
mod export;
mod file;
mod import;
mod manifest;
mod originals;
mod restore;

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::TryStreamExt;
use metrics::gauge;
use object_store::{ObjectStoreExt, path::Path};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::{
    gallery::Gallery,
    index::IndexError,
    inference::registry::{Entry, Registry},
    system::{disk, storage::StorageLocation},
    telemetry::SNAPSHOT_SECONDS,
};
use file::{FileWriter, blocking};

pub use error::SnapshotError;
pub use export::{Head, export};
pub use import::import;
pub use manifest::{File, Manifest};
pub use restore::{Target, newest, restore};

const STORE: &str = "store";
const MODELS: &str = "models";
/// The age after which an incomplete snapshot counts as abandoned.
const ABANDONED_AFTER: Duration = Duration::from_hours(24);
/// Maximum number of bytes that a tar file needs for an entry in addition to its content.
const TAR_OVERHEAD_BYTES: u64 = 1024;

/// A handle on the snapshots of a gallery, cheap to clone.
#[derive(Clone)]
pub struct Snapshots(Arc<Shared>);

struct Shared {
    location: StorageLocation,
    gallery: Gallery,
    registry: Registry,
    /// Locked while a snapshot is made.
    creation: Mutex<()>,
}

impl Snapshots {
    /// Opens the snapshots at a folder or URL.
    ///
    /// # Errors
    /// [`SnapshotError::InvalidLocation`].
    pub fn open(
        location: &str,
        gallery: Gallery,
        registry: Registry,
    ) -> Result<Self, SnapshotError> {
        let opened =
            StorageLocation::open(location).map_err(|source| SnapshotError::InvalidLocation {
                location: location.to_owned(),
                source,
            })?;
        Ok(Snapshots(Arc::new(Shared {
            location: opened,
            gallery,
            registry,
            creation: Mutex::default(),
        })))
    }

    /// Makes a snapshot, with copies of all originals if `originals` is true. Dropping the future
    /// does not stop it. Removes a snapshot that failed.
    ///
    /// # Errors
    /// [`SnapshotError`], with [`InProgress`](SnapshotError::InProgress) while another is being
    /// made.
    pub async fn create(&self, originals: bool) -> Result<Manifest, SnapshotError> {
        let snapshots = self.clone();
        let made = tokio::spawn(async move {
            let guard = snapshots.0.creation.try_lock();
            let _guard = guard.map_err(|_| SnapshotError::InProgress)?;
            if let Err(error) = snapshots.remove_abandoned().await {
                tracing::warn!(%error, "cannot remove abandoned snapshots");
            }
            let id = Uuid::now_v7();
            let made = snapshots.make(id, originals).await;
            if made.is_err()
                && let Err(error) = snapshots.clear(id).await
            {
                tracing::warn!(%id, %error, "cannot remove an incomplete snapshot");
            }
            made
        });
        made.await.map_err(|_| SnapshotError::Panicked)?
    }

    async fn make(&self, id: Uuid, originals: bool) -> Result<Manifest, SnapshotError> {
        let Shared {
            gallery, registry, ..
        } = &*self.0;
        // The originals of the copied rows must still exist when they are copied after the rows.
        let _guard = gallery.pause_cleanup().await;
        self.check_free_space(originals).await?;
        let generation = gallery.index().generations().active;
        let (out, copied) = gallery.index().copy(self.create_file(id, STORE)).await?;
        let mut files = vec![file::finish(STORE, out).await?];
        for entry in models(registry).await? {
            let name = format!("{MODELS}/{}.safetensors", entry.id);
            let mut out = self.create_file(id, &name);
            let written = blocking(move || {
                io::copy(&mut std::fs::File::open(&entry.path)?, &mut out)?;
                Ok::<_, io::Error>(out)
            });
            files.push(file::finish(&name, written.await?).await?);
        }
        if originals {
            files.append(&mut self.copy_originals(id).await?);
        }
        let manifest = Manifest {
            id,
            format: manifest::FORMAT,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            schema: copied.schema,
            store: gallery.index().id(),
            created_at_ms: now_ms(),
            commit: copied.commit,
            position: copied.position,
            images: copied.images,
            model: generation.model,
            precision: generation.precision,
            originals,
            bytes: files.iter().map(|file| file.bytes).sum(),
            files,
        };
        manifest::write(&*self.0.location.objects, &self.path(id), &manifest).await?;
        gauge!(SNAPSHOT_SECONDS).set(now().as_secs_f64());
        tracing::info!(%id, images = manifest.images, bytes = manifest.bytes, "snapshot made");
        Ok(manifest)
    }

    /// Removes old incomplete snapshots, which killed services left. Keeps recent ones, because
    /// another service may be making them.
    async fn remove_abandoned(&self) -> Result<(), SnapshotError> {
        for id in self.ids().await? {
            let begun_at = id.get_timestamp().map_or(0, |time| time.to_unix().0);
            let is_old = begun_at + ABANDONED_AFTER.as_secs() < now().as_secs();
            if is_old && self.get(id).await?.is_none() {
                self.clear(id).await?;
            }
        }
        Ok(())
    }

    /// Refuses a snapshot that would fill the disk of a local folder.
    async fn check_free_space(&self, originals: bool) -> Result<(), SnapshotError> {
        let Shared {
            location,
            gallery,
            registry,
            ..
        } = &*self.0;
        let Some(folder) = &location.folder else {
            return Ok(());
        };
        let models = models(registry).await?;
        let index = gallery.index().clone();
        let stats = blocking(move || Ok::<_, IndexError>(index.stats())).await?;
        let models = models.into_iter().map(|entry| entry.bytes);
        let mut bytes = stats.disk_bytes + models.sum::<u64>();
        if originals {
            let listed = gallery.originals().list().await?.into_iter();
            bytes += listed
                .map(|(_, bytes)| bytes + TAR_OVERHEAD_BYTES)
                .sum::<u64>();
        }
        Ok(disk::check_free_space(folder, bytes)?)
    }

    /// Returns all snapshots, newest first. Skips and logs a snapshot whose manifest cannot be
    /// read.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub async fn list(&self) -> Result<Vec<Manifest>, SnapshotError> {
        let mut found = Vec::new();
        for id in self.ids().await? {
            match self.get(id).await {
                Ok(manifest) => found.extend(manifest),
                Err(error) => {
                    tracing::warn!(%id, %error, "skipping a snapshot whose manifest cannot be read");
                }
            }
        }
        found.sort_by_key(|manifest| std::cmp::Reverse(manifest.id));
        if let Some(newest) = found.first() {
            gauge!(SNAPSHOT_SECONDS).set(newest.created_at_ms as f64 / 1000.0);
        }
        Ok(found)
    }

    /// Returns the ids of all snapshots, complete or not.
    async fn ids(&self) -> Result<Vec<Uuid>, SnapshotError> {
        ids(&self.0.location).await
    }

    /// Returns the manifest of a complete snapshot, if there is one with this id.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub async fn get(&self, id: Uuid) -> Result<Option<Manifest>, SnapshotError> {
        let found = manifest::read(
            &*self.0.location.objects,
            &self.path(id).join(manifest::NAME),
        )
        .await;
        match found {
            Err(SnapshotError::Objects {
                source: object_store::Error::NotFound { .. },
            }) => Ok(None),
            found => found.map(Some),
        }
    }

    /// Removes a snapshot. Returns false if there was none with this id.
    ///
    /// # Errors
    /// [`SnapshotError`]. A partly removed snapshot no longer counts as a snapshot.
    pub async fn remove(&self, id: Uuid) -> Result<bool, SnapshotError> {
        if self.get(id).await?.is_none() {
            return Ok(false);
        }
        // Without a manifest, the rest is no longer a snapshot.
        let manifest = self.path(id).join(manifest::NAME);
        self.0.location.objects.delete(&manifest).await?;
        self.clear(id).await?;
        Ok(true)
    }

    async fn clear(&self, id: Uuid) -> Result<(), SnapshotError> {
        let StorageLocation {
            objects, folder, ..
        } = &self.0.location;
        let path = self.path(id);
        let listed = objects.list(Some(&path)).map_ok(|object| object.location);
        let listed: Vec<Path> = listed.try_collect().await?;
        for file in listed {
            objects.delete(&file).await?;
        }
        // A local folder also has subfolders and partial files, which are not listed.
        if let Some(folder) = folder {
            match tokio::fs::remove_dir_all(folder.join(id.to_string())).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    fn path(&self, id: Uuid) -> Path {
        self.0.location.root.clone().join(id.to_string())
    }

    fn create_file(&self, id: Uuid, name: &str) -> FileWriter {
        let path = name
            .split('/')
            .fold(self.path(id), object_store::path::Path::join);
        file::create(self.0.location.objects.clone(), path)
    }
}

async fn models(registry: &Registry) -> Result<Vec<Entry>, SnapshotError> {
    let registry = registry.clone();
    blocking(move || registry.list()).await
}

/// Returns the ids of all snapshots at a location, complete or not.
async fn ids(location: &StorageLocation) -> Result<Vec<Uuid>, SnapshotError> {
    let root = Some(&location.root).filter(|root| !root.as_ref().is_empty());
    let listed = location.objects.list_with_delimiter(root).await?;
    let folders = listed.common_prefixes.into_iter();
    let id = |folder: Path| Uuid::try_parse(folder.filename()?).ok();
    Ok(folders.filter_map(id).collect())
}

fn now() -> Duration {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default()
}

fn now_ms() -> u64 {
    u64::try_from(now().as_millis()).unwrap_or(u64::MAX)
}
