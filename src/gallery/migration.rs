//! A store of an earlier schema becomes one of today: every image is stored anew with its codes, age and times, and the old store is kept.
//! Knows in which order; neither what old stores look like nor where originals are kept.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::task::spawn_blocking;

use super::{Gallery, GalleryError, Originals};
use crate::index::{self, Index, IndexConfig, Old, Wanted, WholeImage};

/// What a migration does, or did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// The schema of the old store.
    pub from: u32,
    /// How many images it has.
    pub images: u64,
    /// The model whose codes it has.
    pub model: String,
    /// Where the old store is kept.
    pub kept: PathBuf,
}

/// Migrates the store in a data folder, if it is of an earlier schema, after all of it was read once; with `dry_run` it is only read.
/// Originals go to the place that is given. A process that is killed meanwhile leaves the old store or the new one.
///
/// # Errors
/// [`GalleryError`], where anything of the old store is damaged among others; it is as it was then.
pub async fn migrate(
    folder: &Path,
    originals: &str,
    cache_bytes: u64,
    dry_run: bool,
) -> Result<Option<Migration>, GalleryError> {
    let path = folder.to_owned();
    let opened = spawn_blocking(move || Old::open(&path, cache_bytes));
    let Some(old) = opened.await??.map(Arc::new) else {
        return Ok(None);
    };
    let mut images = 0;
    let mut from = 0;
    while let Some((page, next)) = read(&old, from).await? {
        images += page.len() as u64;
        from = next;
    }
    let name = format!("before-schema-{}", index::SCHEMA);
    let migration = Migration {
        from: old.schema(),
        images,
        model: old.generation().model.clone(),
        kept: folder.join(&name),
    };
    if dry_run {
        return Ok(Some(migration));
    }
    tracing::info!(from = migration.from, images, "the data folder is migrated");
    let config = IndexConfig {
        path: index::beside(folder)?,
        model: Wanted::Exactly(old.generation().model.clone()),
        precision: Wanted::Exactly(old.generation().precision.clone()),
        lengths: old.generation().lengths.clone(),
        sketch: None,
        kept: None,
        gallery: None,
        cache_bytes,
    };
    let index = spawn_blocking(move || Index::open(config)).await??;
    let originals = Originals::open(originals, index.id(), false).await?;
    let (gallery, removal) = Gallery::new(index, originals);
    drop(removal);
    let mut from = 0;
    while let Some((page, next)) = read(&old, from).await? {
        gallery.adopt(page).await?;
        from = next;
    }
    let stored = gallery.index().facts().images;
    let index = gallery.index().clone();
    drop(gallery);
    let path = folder.to_owned();
    let changed = spawn_blocking(move || {
        index.close()?;
        drop((index, old));
        index::replace(&path, &name)
    });
    changed.await??;
    tracing::info!(images = stored, kept = %migration.kept.display(), "the data folder is migrated");
    Ok(Some(migration))
}

/// A page of an old store, and where the next begins.
async fn read(old: &Arc<Old>, from: u64) -> Result<Option<(Vec<WholeImage>, u64)>, GalleryError> {
    let old = old.clone();
    Ok(spawn_blocking(move || old.page(from)).await??)
}
