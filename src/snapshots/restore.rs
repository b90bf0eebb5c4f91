//! A snapshot becomes a data folder again: every file is checked against its digest, and what came of it is read from end to end.
//! Knows files and their order; neither who serves the folder nor what its codes mean.

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
        File, MANIFEST, MODELS, Manifest, STORE, SnapshotError,
        file::{self, blocking},
        manifest,
        originals::{MOST_ORIGINAL, plain},
    },
    system::storage::StorageLocation,
};

/// Where a snapshot is restored to.
#[derive(Clone, Debug)]
pub struct Target {
    /// The data folder, empty or not there.
    pub data_dir: PathBuf,
    /// Where originals are to be kept, or are, if the snapshot has none.
    pub originals: String,
    /// Whether all originals are there, so that none is copied from the snapshot.
    pub has_originals: bool,
    /// The memory that the store's cache may take meanwhile.
    pub cache_bytes: u64,
}

/// The newest snapshot at a place of a store that follows a log, by the store's id.
///
/// # Errors
/// [`SnapshotError`].
pub async fn newest(place: &str, store: Uuid) -> Result<Option<Manifest>, SnapshotError> {
    let opened = open(place)?;
    let mut ids = crate::snapshots::ids(&opened).await?;
    ids.sort();
    for id in ids.into_iter().rev() {
        let path = opened.root.clone().join(id.to_string()).join(MANIFEST);
        match manifest::read(&*opened.objects, &path).await {
            Ok(found) if found.store == store && found.position.is_some() => {
                return Ok(Some(found));
            }
            // Of another store, of this one when it had no log, or begun and not completed.
            Ok(_) => {}
            Err(SnapshotError::Objects {
                source: object_store::Error::NotFound { .. },
            }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn open(place: &str) -> Result<StorageLocation, SnapshotError> {
    StorageLocation::open(place).map_err(|source| SnapshotError::StorageLocation {
        place: place.to_owned(),
        source,
    })
}

/// Makes a data folder of the snapshot at a place, a folder or a URL, and tells what is damaged in it, if anything is.
///
/// # Errors
/// [`SnapshotError`]. A folder that was begun is refused by the service until it is emptied and restored to again.
pub async fn restore(from: &str, to: &Target) -> Result<(Manifest, Vec<Damage>), SnapshotError> {
    let place = open(from)?;
    let objects = &*place.objects;
    let at = |name: &str| {
        let parts = name.split('/');
        parts.fold(place.root.clone(), |path, part| path.join(part))
    };
    let read = manifest::read(objects, &at(MANIFEST)).await;
    let manifest = read.map_err(|error| match error {
        SnapshotError::Objects {
            source: object_store::Error::NotFound { .. },
        } => SnapshotError::None {
            place: from.to_owned(),
        },
        other => other,
    })?;
    let folder = &to.data_dir;
    begin(folder)?;
    let (mut volumes, mut store) = (Vec::new(), None);
    for file in &manifest.files {
        match file.name.as_str() {
            STORE => store = Some(file),
            name if name.starts_with(MODELS) => model(objects, &at(name), file, folder).await?,
            _ => volumes.push(file),
        }
    }
    let store = store.ok_or_else(|| SnapshotError::Damaged {
        name: STORE.to_owned(),
        why: "its manifest does not have it".to_owned(),
    })?;
    let mut input = file::read(objects, &at(STORE)).await?;
    let (of, path, cache) = (store.clone(), folder.clone(), to.cache_bytes);
    blocking(move || {
        let restored = index::restore(&path, &mut input, cache);
        // A file that was cut or changed is told as such, whatever came of it.
        file::check(input, &of)?;
        restored.map_err(SnapshotError::from)
    })
    .await?;
    let (path, cache) = (folder.clone(), to.cache_bytes);
    let index = blocking(move || Index::open_present(path, cache)).await?;
    let there = to.has_originals || !manifest.originals;
    let kept = there && index.has_originals();
    let originals = Originals::open(&to.originals, index.id(), kept).await?;
    for volume in volumes.into_iter().filter(|_| !to.has_originals) {
        let input = file::read(objects, &at(&volume.name)).await?;
        unpack(input, volume.clone(), &originals).await?;
    }
    let (gallery, _) = Gallery::new(index, originals);
    let damage = complete(gallery, folder).await?;
    Ok((manifest, damage))
}

/// Marks a folder as begun, which the service refuses; one in which anything is, is refused.
pub(crate) fn begin(folder: &FilePath) -> Result<(), SnapshotError> {
    empty(folder)?;
    Ok(fs::write(folder.join(index::RESTORING), "")?)
}

/// Reads all that was stored in a folder, and lets the service take it.
pub(crate) async fn complete(
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

/// Refuses a folder in which anything is; makes one that is not there.
fn empty(folder: &FilePath) -> Result<(), SnapshotError> {
    fs::create_dir_all(folder)?;
    for entry in fs::read_dir(folder)? {
        // A volume's own.
        if entry?.file_name() != "lost+found" {
            return Err(SnapshotError::NotEmpty {
                path: folder.to_owned(),
            });
        }
    }
    Ok(())
}

async fn model(
    objects: &dyn ObjectStore,
    path: &Path,
    file: &File,
    folder: &FilePath,
) -> Result<(), SnapshotError> {
    let mut input = file::read(objects, path).await?;
    // Of a manifest that somebody wrote, the last part alone: it must not lead out of the folder.
    let name = path.filename().unwrap_or(MODELS).to_owned();
    let (of, folder) = (file.clone(), folder.join(MODELS));
    blocking(move || {
        fs::create_dir_all(&folder)?;
        let mut out = fs::File::create(folder.join(name))?;
        io::copy(&mut input, &mut out)?;
        out.sync_all()?;
        file::check(input, &of)
    })
    .await
}

/// Puts the originals of a tar file where they belong.
async fn unpack(input: file::In, volume: File, originals: &Originals) -> Result<(), SnapshotError> {
    let (send, mut receive) = tokio::sync::mpsc::channel::<(String, Vec<u8>)>(4);
    let read = tokio::task::spawn_blocking(move || {
        let mut archive = tar::Archive::new(input);
        for entry in archive.entries()? {
            let mut entry = entry?;
            let name = entry.path()?.to_string_lossy().into_owned();
            let read = plain(&mut entry, MOST_ORIGINAL)?;
            let bytes = read.map_err(|why| SnapshotError::Damaged {
                name: format!("{name} in {}", volume.name),
                why,
            })?;
            if send.blocking_send((name, bytes)).is_err() {
                // Putting one failed, which is told.
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
