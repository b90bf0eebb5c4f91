//! `scihcgrl fsck`, `compact`, `export` and `import`: work on a data folder that no service uses.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Read, Write},
    path::Path,
};

use anyhow::{Context, ensure};

use crate::{
    config,
    gallery::{Gallery, Originals, Verified},
    index::{self, Damage, Filter, Index},
    snapshots::{self, Target},
    system::disk,
};

const CACHE_BYTES: u64 = 64 << 20;

/// Prints damage and unreferenced originals. Fails if there is damage.
pub(crate) async fn fsck(gallery: &config::GalleryPaths) -> anyhow::Result<()> {
    let gallery = open(gallery).await?;
    let images = gallery.index().stats().images;
    let Verified {
        damage,
        unreferenced,
    } = gallery.verify().await?;
    for damage in &damage {
        println!("{damage}");
    }
    for (name, bytes) in &unreferenced {
        println!("the original {name}: no image has it; {bytes} bytes");
    }
    println!("{images} images, {} things damaged", damage.len());
    ensure_undamaged(&damage)
}

async fn open(folder: &config::GalleryPaths) -> anyhow::Result<Gallery> {
    let index = Index::open_existing(folder.data_dir.clone(), CACHE_BYTES)?;
    let (id, must_exist) = (index.id(), index.has_originals());
    let originals = Originals::open(&folder.originals(), id, must_exist).await?;
    Ok(Gallery::new(index, originals).0)
}

fn ensure_undamaged(damage: &[Damage]) -> anyhow::Result<()> {
    ensure!(damage.is_empty(), "the data folder is damaged");
    Ok(())
}

/// The file name that means standard input or output.
const STANDARD_STREAM: &str = "-";

/// Writes the images that pass the filter to an archive. Prints and leaves out those that cannot be
/// read.
pub(crate) async fn export(
    folder: &config::GalleryPaths,
    filter: Option<Filter>,
    to: &Path,
) -> anyhow::Result<()> {
    let gallery = open(folder).await?;
    let out: Box<dyn Write + Send> = if to.as_os_str() == STANDARD_STREAM {
        Box::new(io::stdout())
    } else {
        let new = File::create_new(to);
        Box::new(new.with_context(|| format!("cannot create {}", to.display()))?)
    };
    let exported = snapshots::export(&gallery, filter, BufWriter::new(out)).await;
    if exported.is_err() && to.as_os_str() != STANDARD_STREAM {
        // An import would refuse the incomplete archive, so it is of no use.
        let _ = fs::remove_file(to);
    }
    let (images, damage) =
        exported.with_context(|| format!("cannot export to {}", to.display()))?;
    for damage in &damage {
        eprintln!("{damage}");
    }
    eprintln!(
        "{images} images were exported, {} things left out",
        damage.len()
    );
    ensure_undamaged(&damage)
}

/// Fills an empty data folder from a snapshot or an export, and prints damage of the result.
pub(crate) async fn import(from: &str, folder: &config::GalleryPaths) -> anyhow::Result<()> {
    disk::restrict_permissions(&folder.data_dir);
    let target = Target {
        data_dir: folder.data_dir.clone(),
        originals: folder.originals(),
        has_originals: false,
        cache_bytes: CACHE_BYTES,
    };
    let is_stdin = from == STANDARD_STREAM;
    let failed = || format!("cannot import {from}");
    let (images, model, damage) = if is_stdin || Path::new(from).is_file() {
        let input: Box<dyn Read + Send> = if is_stdin {
            Box::new(io::stdin())
        } else {
            Box::new(File::open(from).with_context(failed)?)
        };
        let imported = snapshots::import(input, &target).await;
        let (head, images, damage) = imported.with_context(failed)?;
        (images, head.model, damage)
    } else {
        let restored = snapshots::restore(from, &target).await;
        let (manifest, damage) = restored.with_context(failed)?;
        (manifest.images, manifest.model, damage)
    };
    for damage in &damage {
        println!("{damage}");
    }
    println!(
        "{images} images of model {model} are in {}, {} things damaged",
        target.data_dir.display(),
        damage.len()
    );
    ensure_undamaged(&damage)
}

/// Rewrites a store without its unused space.
pub(crate) fn compact(folder: &config::GalleryPaths) -> anyhow::Result<()> {
    disk::restrict_permissions(&folder.data_dir);
    let (before, after) = index::compact(&folder.data_dir, CACHE_BYTES)?;
    println!("the store had {before} bytes and has {after}");
    Ok(())
}
