//! What is done to a data folder that is not served: read from end to end, made anew in less space, written
//! out for programs of any version, filled from a snapshot or from what was written out.
//! Knows how each is told; what is done is the layers' below.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Read, Write},
    path::Path,
};

use anyhow::{Context, ensure};

use crate::{
    config,
    gallery::{Gallery, Originals, Verified},
    index::{self, Damage, Index},
    snapshots::{self, Target},
    system::disk,
};

/// The memory that the store's cache takes meanwhile.
const CACHE_BYTES: u64 = 64 << 20;

/// Names what is damaged, and fails if anything is. Names originals that no image has too.
pub(crate) async fn fsck(gallery: &config::GalleryPaths) -> anyhow::Result<()> {
    let gallery = open(gallery).await?;
    let images = gallery.index().facts().images;
    let Verified { damage, unused } = gallery.verify().await?;
    for damage in &damage {
        println!("{damage}");
    }
    for (name, bytes) in &unused {
        println!("the original {name}: no image has it; {bytes} bytes");
    }
    println!("{images} images, {} things damaged", damage.len());
    whole(&damage)
}

async fn open(folder: &config::GalleryPaths) -> anyhow::Result<Gallery> {
    let index = Index::open_present(folder.data_dir.clone(), CACHE_BYTES)?;
    let (id, kept) = (index.id(), index.has_originals());
    let originals = Originals::open(&folder.originals(), id, kept).await?;
    Ok(Gallery::new(index, originals).0)
}

fn whole(damage: &[Damage]) -> anyhow::Result<()> {
    ensure!(damage.is_empty(), "the data folder is damaged");
    Ok(())
}

/// What stands for standard input or output where a file is named.
const STANDARD: &str = "-";

/// Writes all images into an archive that any version reads. What cannot be read is named and left out.
pub(crate) async fn export(folder: &config::GalleryPaths, to: &Path) -> anyhow::Result<()> {
    let gallery = open(folder).await?;
    let out: Box<dyn Write + Send> = match to.as_os_str() == STANDARD {
        true => Box::new(io::stdout()),
        false => {
            let new = File::create_new(to);
            Box::new(new.with_context(|| format!("{} cannot be written", to.display()))?)
        }
    };
    let exported = snapshots::export(&gallery, BufWriter::new(out)).await;
    if exported.is_err() && to.as_os_str() != STANDARD {
        // It says itself that it is cut off, but nobody wants it.
        let _ = fs::remove_file(to);
    }
    let (images, damage) = exported.with_context(|| format!("{} is not written", to.display()))?;
    for damage in &damage {
        eprintln!("{damage}");
    }
    eprintln!(
        "{images} images were exported, {} things left out",
        damage.len()
    );
    whole(&damage)
}

/// Fills an empty data folder from a snapshot or an export, and reads what came of it from end to end.
pub(crate) async fn import(from: &str, folder: &config::GalleryPaths) -> anyhow::Result<()> {
    disk::keep_private(&folder.data_dir);
    let target = Target {
        data_dir: folder.data_dir.clone(),
        originals: folder.originals(),
        has_originals: false,
        cache_bytes: CACHE_BYTES,
    };
    let is_standard = from == STANDARD;
    let failed = || format!("{from} is not restored");
    let (images, model, damage) = if is_standard || Path::new(from).is_file() {
        let input: Box<dyn Read + Send> = match is_standard {
            true => Box::new(io::stdin()),
            false => Box::new(File::open(from).with_context(failed)?),
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
    whole(&damage)
}

/// Gives back the space that a store holds and does not use.
pub(crate) fn compact(folder: &config::GalleryPaths) -> anyhow::Result<()> {
    disk::keep_private(&folder.data_dir);
    let (before, after) = index::compact(&folder.data_dir, CACHE_BYTES)?;
    println!("the store had {before} bytes and has {after}");
    Ok(())
}
