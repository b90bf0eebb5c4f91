//! Restores a snapshot to a data folder. Checks each file against its digest, then verifies the
//! whole gallery.

use std::{
    fs, io,
    path::{Path as FilePath, PathBuf},
};

use object_store::{ObjectStore, path::Path};
use uuid::Uuid;

use crate::{
    gallery::{Gallery, Originals},
    index::{self, Damage, Index},
    snapshots::{
        File, MODELS, Manifest, STORE, SnapshotError,
        file::{self, blocking},
        manifest,
        originals::{MAX_ORIGINAL_BYTES, read_plain},
    },
    system::storage::StorageLocation,
};

/// The destination of a restore or an import.
#[derive(Clone, Debug)]
pub struct Target {
    /// The data folder, which must be empty or new.
    pub data_dir: PathBuf,
    /// The folder or URL of the originals. They are stored there if the snapshot contains them, and
    /// are there already otherwise.
    pub originals: String,
    /// If true, all originals exist already and none is copied from the snapshot.
    pub has_originals: bool,
    /// The size of the store's cache during the restore.
    pub cache_bytes: u64,
}

/// Returns the newest snapshot at a location with this store id and a position in a log.
///
/// # Errors
/// [`SnapshotError`].
pub async fn newest(location: &str, store: Uuid) -> Result<Option<Manifest>, SnapshotError> {
    let opened = open(location)?;
    let mut ids = crate::snapshots::ids(&opened).await?;
    ids.sort();
    for id in ids.into_iter().rev() {
        let path = opened
            .root
            .clone()
            .join(id.to_string())
            .join(manifest::NAME);
        match manifest::read(&*opened.objects, &path).await {
            Ok(found) if found.store == store && found.position.is_some() => {
                return Ok(Some(found));
            }
            // The snapshot is of another store, or of this store before it had a log.
            Ok(_) => {}
            // The snapshot is incomplete.
            Err(SnapshotError::Objects {
                source: object_store::Error::NotFound { .. },
            }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn open(location: &str) -> Result<StorageLocation, SnapshotError> {
    StorageLocation::open(location).map_err(|source| SnapshotError::InvalidLocation {
        location: location.to_owned(),
        source,
    })
}

/// Restores the snapshot at a folder or URL to a data folder. Returns the snapshot's manifest and
/// the damage found in the restored folder.
///
/// # Errors
/// [`SnapshotError`]. The service then refuses the folder until it is emptied and the restore is
/// repeated.
pub async fn restore(from: &str, to: &Target) -> Result<(Manifest, Vec<Damage>), SnapshotError> {
    let location = open(from)?;
    let objects = &*location.objects;
    let object_path = |name: &str| {
        let parts = name.split('/');
        parts.fold(location.root.clone(), object_store::path::Path::join)
    };
    let read = manifest::read(objects, &object_path(manifest::NAME)).await;
    let manifest = read.map_err(|error| match error {
        SnapshotError::Objects {
            source: object_store::Error::NotFound { .. },
        } => SnapshotError::NotFound {
            location: from.to_owned(),
        },
        other => other,
    })?;
    let folder = &to.data_dir;
    begin_restore(folder)?;
    let (mut volumes, mut store) = (Vec::new(), None);
    for file in &manifest.files {
        match file.name.as_str() {
            STORE => store = Some(file),
            name if name.starts_with(MODELS) => {
                restore_model(objects, &object_path(name), file, folder).await?;
            }
            _ => volumes.push(file),
        }
    }
    let store = store.ok_or_else(|| SnapshotError::Damaged {
        name: STORE.to_owned(),
        why: "the manifest does not name it".to_owned(),
    })?;
    let mut input = file::read(objects, &object_path(STORE)).await?;
    let (store_file, path, cache) = (store.clone(), folder.clone(), to.cache_bytes);
    blocking(move || {
        let restored = index::restore(&path, &mut input, cache);
        // Reports a damaged file as such, regardless of the error that it caused in the index.
        file::check(input, &store_file)?;
        restored.map_err(SnapshotError::from)
    })
    .await?;
    let (path, cache) = (folder.clone(), to.cache_bytes);
    let index = blocking(move || Index::open_existing(path, cache)).await?;
    let exist_already = to.has_originals || !manifest.originals;
    let must_exist = exist_already && index.has_originals();
    let originals = Originals::open(&to.originals, index.id(), must_exist).await?;
    for volume in volumes.into_iter().filter(|_| !to.has_originals) {
        let input = file::read(objects, &object_path(&volume.name)).await?;
        unpack(input, volume.clone(), &originals).await?;
    }
    let (gallery, _) = Gallery::new(index, originals);
    let damage = finish_restore(gallery, folder).await?;
    Ok((manifest, damage))
}

/// Marks a folder as being restored, so that the service refuses it. The folder must be empty or
/// new.
pub(crate) fn begin_restore(folder: &FilePath) -> Result<(), SnapshotError> {
    ensure_empty(folder)?;
    Ok(fs::write(folder.join(index::RESTORING), "")?)
}

/// Verifies a restored folder and removes its mark. Returns the damage found.
pub(crate) async fn finish_restore(
    gallery: Gallery,
    folder: &FilePath,
) -> Result<Vec<Damage>, SnapshotError> {
    let damage = gallery.verify().await?.damage;
    let index = gallery.index().clone();
    drop(gallery);
    blocking(move || index.close()).await?;
    fs::remove_file(folder.join(index::RESTORING))?;
    Ok(damage)
}

/// Refuses a folder with content. Creates one that does not exist.
fn ensure_empty(folder: &FilePath) -> Result<(), SnapshotError> {
    fs::create_dir_all(folder)?;
    for entry in fs::read_dir(folder)? {
        // A new ext4 volume has this folder.
        if entry?.file_name() != "lost+found" {
            return Err(SnapshotError::NotEmpty {
                path: folder.to_owned(),
            });
        }
    }
    Ok(())
}

async fn restore_model(
    objects: &dyn ObjectStore,
    path: &Path,
    file: &File,
    folder: &FilePath,
) -> Result<(), SnapshotError> {
    let mut input = file::read(objects, path).await?;
    // Uses only the last part of the path, because a forged manifest must not write outside the
    // folder.
    let name = path.filename().unwrap_or(MODELS).to_owned();
    let (model_file, folder) = (file.clone(), folder.join(MODELS));
    blocking(move || {
        fs::create_dir_all(&folder)?;
        let mut out = fs::File::create(folder.join(name))?;
        io::copy(&mut input, &mut out)?;
        out.sync_all()?;
        file::check(input, &model_file)
    })
    .await
}

/// Stores the originals of a tar file.
async fn unpack(
    input: file::FileReader,
    volume: File,
    originals: &Originals,
) -> Result<(), SnapshotError> {
    let (send, mut receive) = tokio::sync::mpsc::channel::<(String, Vec<u8>)>(4);
    let read = tokio::task::spawn_blocking(move || {
        let mut archive = tar::Archive::new(input);
        for entry in archive.entries()? {
            let mut entry = entry?;
            let name = entry.path()?.to_string_lossy().into_owned();
            let read = read_plain(&mut entry, MAX_ORIGINAL_BYTES)?;
            let bytes = read.map_err(|why| SnapshotError::Damaged {
                name: format!("{name} in {}", volume.name),
                why,
            })?;
            if send.blocking_send((name, bytes)).is_err() {
                // Storing one failed. The receiver reports that error.
                return Ok(());
            }
        }
        file::check(archive.into_inner(), &volume)
    });
    while let Some((name, bytes)) = receive.recv().await {
        originals.write(&name, bytes.into()).await?;
    }
    drop(receive);
    read.await.map_err(|_| SnapshotError::Panicked)?
}
