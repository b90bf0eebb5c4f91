//! What is done to a data folder that is not served: read from end to end, brought to this program's schema, made anew in less space.
//! Knows how each is told; what is done is the gallery's and the index's.

use crate::{
    config,
    gallery::{self, Gallery, Migration, Originals},
    index::{self, Index, SCHEMA},
};

/// The memory that the store's cache takes meanwhile.
const CACHE_BYTES: u64 = 64 << 20;

/// Names what is damaged, and fails where anything is.
pub(super) async fn fsck(gallery: &config::Gallery) -> anyhow::Result<()> {
    let index = Index::open_present(gallery.data_dir.clone(), CACHE_BYTES)?;
    let images = index.facts().images;
    let (id, kept) = (index.id(), index.has_originals());
    let originals = Originals::open(&gallery.originals(), id, kept).await?;
    let (gallery, _) = Gallery::new(index, originals);
    let damage = gallery.verify().await?;
    for damage in &damage {
        println!("{damage}");
    }
    println!("{images} images, {} things damaged", damage.len());
    anyhow::ensure!(damage.is_empty(), "the data folder is damaged");
    Ok(())
}

/// Migrates a folder of an earlier version, or says what would be done.
pub(super) async fn migrate(folder: &config::Gallery, dry_run: bool) -> anyhow::Result<()> {
    let place = folder.originals();
    let migration = gallery::migrate(&folder.data_dir, &place, CACHE_BYTES, dry_run);
    let Some(migration) = migration.await? else {
        println!("the data folder is of this version, or there is none");
        return Ok(());
    };
    let Migration {
        from,
        images,
        model,
        kept,
    } = migration;
    let (would, be) = match dry_run {
        true => ("would be", "would be"),
        false => ("were", "is"),
    };
    println!(
        "{images} images of model {model} {would} stored anew, from schema {from} to {SCHEMA}; the old store {be} kept in {}",
        kept.display()
    );
    Ok(())
}

/// Gives back the space that a store holds and does not use.
pub(super) fn compact(folder: &config::Gallery) -> anyhow::Result<()> {
    let (before, after) = index::compact(&folder.data_dir, CACHE_BYTES)?;
    println!("the store had {before} bytes and has {after}");
    Ok(())
}
