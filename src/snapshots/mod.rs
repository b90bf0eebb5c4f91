//! Snapshots: the gallery and its models as they were at one moment, in a folder or a bucket, each file with its digest.
//! Knows what belongs to one and in which order it is written; neither how a store is copied nor when a snapshot is wanted.

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
use file::{Out, blocking};

pub use error::SnapshotError;
pub use export::{Head, export};
pub use import::import;
pub use manifest::{File, Manifest};
pub use restore::{Target, newest, restore};

/// The file that is written last, so that what lacks it is no snapshot.
const MANIFEST: &str = "manifest.json";
const STORE: &str = "store";
const MODELS: &str = "models";
/// After how long one that was begun and never completed is taken for left behind.
const BEGUN: Duration = Duration::from_secs(24 * 3600);
/// What a tar file takes for each besides, at most.
const TAR_BYTES: u64 = 1024;
/// A handle on the snapshots of a gallery, cheap to clone.
#[derive(Clone)]
pub struct Snapshots(Arc<Shared>);

struct Shared {
    place: StorageLocation,
    gallery: Gallery,
    registry: Registry,
    /// Held by whoever makes one.
    one: Mutex<()>,
}

impl Snapshots {
    /// The snapshots at a place, a folder or a URL.
    ///
    /// # Errors
    /// [`SnapshotError::StorageLocation`].
    pub fn open(place: &str, gallery: Gallery, registry: Registry) -> Result<Self, SnapshotError> {
        let opened =
            StorageLocation::open(place).map_err(|source| SnapshotError::StorageLocation {
                place: place.to_owned(),
                source,
            })?;
        Ok(Snapshots(Arc::new(Shared {
            place: opened,
            gallery,
            registry,
            one: Mutex::default(),
        })))
    }

    /// Makes a snapshot, with copies of all originals or by reference to where they are, and tells what it is. A caller that stops waiting
    /// does not undo it; one that fails leaves nothing behind.
    ///
    /// # Errors
    /// [`SnapshotError`], [`UnderWay`](SnapshotError::UnderWay) where one is being made.
    pub async fn create(&self, originals: bool) -> Result<Manifest, SnapshotError> {
        let snapshots = self.clone();
        let made = tokio::spawn(async move {
            let one = snapshots.0.one.try_lock();
            let _one = one.map_err(|_| SnapshotError::UnderWay)?;
            if let Err(error) = snapshots.sweep().await {
                tracing::warn!(%error, "what was begun of earlier snapshots is left");
            }
            let id = Uuid::now_v7();
            let made = snapshots.make(id, originals).await;
            if made.is_err()
                && let Err(error) = snapshots.clear(id).await
            {
                tracing::warn!(%id, %error, "what was begun of a snapshot is left");
            }
            made
        });
        made.await.map_err(|_| SnapshotError::Panicked)?
    }

    async fn make(&self, id: Uuid, originals: bool) -> Result<Manifest, SnapshotError> {
        let Shared {
            gallery, registry, ..
        } = &*self.0;
        // What rows have until then must still lie there when it is copied.
        let _kept = gallery.keep_originals().await;
        self.room(originals).await?;
        let generation = gallery.index().generations().active;
        let (out, cut) = gallery.index().copy(self.out(id, STORE)).await?;
        let mut files = vec![file::finish(STORE, out).await?];
        for entry in models(registry).await? {
            let name = format!("{MODELS}/{}.safetensors", entry.id);
            let mut out = self.out(id, &name);
            let copied = blocking(move || {
                io::copy(&mut std::fs::File::open(&entry.path)?, &mut out)?;
                Ok::<_, io::Error>(out)
            });
            files.push(file::finish(&name, copied.await?).await?);
        }
        if originals {
            files.append(&mut self.copy_originals(id).await?);
        }
        let manifest = Manifest {
            id,
            format: manifest::FORMAT,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            schema: cut.schema,
            store: gallery.index().id(),
            created_at_ms: now().as_millis() as u64,
            commit: cut.commit,
            position: cut.position,
            images: cut.images,
            model: generation.model,
            precision: generation.precision,
            originals,
            bytes: files.iter().map(|file| file.bytes).sum(),
            files,
        };
        let text = serde_json::to_vec_pretty(&manifest)?;
        let path = self.path(id).join(MANIFEST);
        self.0.place.objects.put(&path, text.into()).await?;
        gauge!(SNAPSHOT_SECONDS).set(now().as_secs_f64());
        tracing::info!(%id, images = manifest.images, bytes = manifest.bytes, "a snapshot was made");
        Ok(manifest)
    }

    /// Removes what a service that was killed had begun of a snapshot. Another service may be making one at this place, but not for a day.
    async fn sweep(&self) -> Result<(), SnapshotError> {
        for id in self.ids().await? {
            let begun = id.get_timestamp().map_or(0, |begun| begun.to_unix().0);
            let is_old = begun + BEGUN.as_secs() < now().as_secs();
            if is_old && self.get(id).await?.is_none() {
                self.clear(id).await?;
            }
        }
        Ok(())
    }

    /// Refuses to begin what would fill the disk of a folder, on which the service may write too.
    async fn room(&self, originals: bool) -> Result<(), SnapshotError> {
        let Shared {
            place,
            gallery,
            registry,
            ..
        } = &*self.0;
        let Some(folder) = &place.folder else {
            return Ok(());
        };
        let models = models(registry).await?;
        let index = gallery.index().clone();
        let facts = blocking(move || Ok::<_, IndexError>(index.facts())).await?;
        let models = models.into_iter().map(|entry| entry.bytes);
        let mut bytes = facts.disk_bytes + models.sum::<u64>();
        if originals {
            let listed = gallery.originals().list().await?.into_iter();
            bytes += listed.map(|(_, bytes)| bytes + TAR_BYTES).sum::<u64>();
        }
        Ok(disk::room(folder, bytes)?)
    }

    /// All there are, the newest first.
    ///
    /// # Errors
    /// [`SnapshotError`]; one whose manifest cannot be read is passed over and told of in the log.
    pub async fn list(&self) -> Result<Vec<Manifest>, SnapshotError> {
        let mut found = Vec::new();
        for id in self.ids().await? {
            match self.get(id).await {
                Ok(manifest) => found.extend(manifest),
                Err(error) => tracing::warn!(%id, %error, "a snapshot is passed over"),
            }
        }
        found.sort_by_key(|manifest| std::cmp::Reverse(manifest.id));
        if let Some(newest) = found.first() {
            gauge!(SNAPSHOT_SECONDS).set(newest.created_at_ms as f64 / 1000.0);
        }
        Ok(found)
    }

    /// Of all that are there, whole or not.
    async fn ids(&self) -> Result<Vec<Uuid>, SnapshotError> {
        ids(&self.0.place).await
    }

    /// A snapshot, if there is one.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub async fn get(&self, id: Uuid) -> Result<Option<Manifest>, SnapshotError> {
        let found = manifest::read(&*self.0.place.objects, &self.path(id).join(MANIFEST)).await;
        match found {
            Err(SnapshotError::Objects {
                source: object_store::Error::NotFound { .. },
            }) => Ok(None),
            found => found.map(Some),
        }
    }

    /// Removes a snapshot, and tells whether there was one.
    ///
    /// # Errors
    /// [`SnapshotError`]; it may be half removed, and then it is none.
    pub async fn remove(&self, id: Uuid) -> Result<bool, SnapshotError> {
        if self.get(id).await?.is_none() {
            return Ok(false);
        }
        // From then on it is none, whatever is left of it.
        let manifest = self.path(id).join(MANIFEST);
        self.0.place.objects.delete(&manifest).await?;
        self.clear(id).await?;
        Ok(true)
    }

    async fn clear(&self, id: Uuid) -> Result<(), SnapshotError> {
        let StorageLocation {
            objects, folder, ..
        } = &self.0.place;
        let path = self.path(id);
        let listed = objects.list(Some(&path)).map_ok(|object| object.location);
        let listed: Vec<Path> = listed.try_collect().await?;
        for file in listed {
            objects.delete(&file).await?;
        }
        // A folder has folders besides, and what was begun of a file.
        if let Some(folder) = folder {
            match tokio::fs::remove_dir_all(folder.join(id.to_string())).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    fn path(&self, id: Uuid) -> Path {
        self.0.place.root.clone().join(id.to_string())
    }

    fn out(&self, id: Uuid, name: &str) -> Out {
        let path = name
            .split('/')
            .fold(self.path(id), |path, part| path.join(part));
        file::out(self.0.place.objects.clone(), path)
    }
}

async fn models(registry: &Registry) -> Result<Vec<Entry>, SnapshotError> {
    let registry = registry.clone();
    blocking(move || registry.list()).await
}

/// Of all snapshots at a place, whole or not.
async fn ids(place: &StorageLocation) -> Result<Vec<Uuid>, SnapshotError> {
    let root = Some(&place.root).filter(|root| !root.as_ref().is_empty());
    let listed = place.objects.list_with_delimiter(root).await?;
    let folders = listed.common_prefixes.into_iter();
    let id = |folder: Path| Uuid::try_parse(folder.filename()?).ok();
    Ok(folders.filter_map(id).collect())
}

fn now() -> Duration {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default()
}
