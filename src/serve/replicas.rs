//! What makes a service one of several: the log that they share, and that it begins where they do.
//! Knows what has to be the same for all; not how a log is kept.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use uuid::Uuid;

use crate::{
    config::{Precision, Serve},
    gallery::Originals,
    index::{Index, IndexConfig, IndexError, Requirement},
    inference::{registry, serving::Serving},
    model,
    replica::{GalleryManifest, LogConnection, Replica, ReplicaError, Turned},
    snapshots::{self, Target},
};

/// For how long an original stays that no image has any more: another replica may not know of that yet.
pub(crate) const REMOVED_AFTER: Duration = Duration::from_secs(60);

/// Connects to the log, and tells which gallery it is of: the one there, or one that begins with what the data folder has, or with this
/// service's model.
pub(crate) async fn join(
    config: &Serve,
    servers: &str,
) -> anyhow::Result<(LogConnection, GalleryManifest)> {
    let nats = &config.nats;
    ensure!(
        config.gallery.originals.is_some(),
        "with --nats all replicas keep originals in one place; say which with --originals"
    );
    let (card, id) = registry::describe(&config.model)?;
    let precision = match config.compute.precision {
        Precision::Auto => model::preferred(&config.compute.device)?,
        exactly => exactly,
    };
    let new = GalleryManifest {
        id: Uuid::new_v4(),
        model: id.clone(),
        precision: precision.to_string(),
        lengths: card.lengths,
        sketch: card.sketch,
        began_with: None,
    };
    let place = LogConnection::connect(servers, nats.nats_credentials.as_ref(), &nats.nats_gallery);
    let place = place.await?;
    let gallery = match place.gallery().await? {
        Some(gallery) => gallery,
        None => {
            let new = filled(config, &new).await?.unwrap_or(new);
            place.begin(&new, usize::from(nats.nats_replicas)).await?
        }
    };
    // A store that the log began with, and a snapshot of it, have their models with them.
    if gallery.began_with.is_none() && gallery.model != id {
        return Err(ReplicaError::Model {
            gallery: gallery.model,
            given: id,
        }
        .into());
    }
    Ok((place, gallery))
}

/// The gallery in a data folder that a service filled alone, if there is one: whole, with its originals where all look for them, so that nothing
/// keeps it from following the log that begins with it.
async fn filled(config: &Serve, new: &GalleryManifest) -> anyhow::Result<Option<GalleryManifest>> {
    let folder = &config.gallery.data_dir;
    if !folder.join("db").exists() {
        return Ok(None);
    }
    let opened = Index::open(IndexConfig {
        path: folder.clone(),
        model: Requirement::Preferred(new.model.clone()),
        precision: Requirement::Preferred(new.precision.clone()),
        lengths: new.lengths.clone(),
        sketch: new.sketch,
        kept: None,
        gallery: None,
        cache_bytes: config.cache_bytes,
    });
    let index = match opened {
        Err(IndexError::Follows { path }) => bail!(
            "the data folder {} follows the log of a gallery, which is not on these servers under the name {}; say which it is with \
             --nats-gallery",
            path.display(),
            config.nats.nats_gallery
        ),
        opened => opened?,
    };
    check_whole(&index)?;
    let place = config.gallery.originals();
    Originals::open(&place, index.id(), index.has_originals()).await?;
    let active = index.generations().active;
    let (_, digest) = index.digest().await?;
    index.close()?;
    Ok(Some(GalleryManifest {
        id: index.id(),
        model: active.model,
        precision: active.precision,
        lengths: active.lengths,
        sketch: active.sketch,
        began_with: Some(digest),
    }))
}

/// Makes an empty data folder of the gallery's newest snapshot, where there is one; the log has what came after it.
pub(crate) async fn begin(config: &Serve, gallery: &GalleryManifest) -> anyhow::Result<()> {
    let folder = &config.gallery.data_dir;
    if folder.join("db").exists() {
        return Ok(());
    }
    let newest = match &config.snapshots {
        Some(place) => (snapshots::newest(place, gallery.id).await?).map(|newest| (place, newest)),
        None => None,
    };
    let Some((place, newest)) = newest else {
        ensure!(
            gallery.began_with.is_none(),
            "the gallery was filled before its log began, so the log does not have all of it; take a snapshot at the replica that has it: \
             POST /admin/snapshots, and start with --snapshots and the place where that is"
        );
        return Ok(());
    };
    tracing::info!(id = %newest.id, position = newest.position, "begins with the newest snapshot");
    let target = Target {
        data_dir: folder.clone(),
        originals: config.gallery.originals(),
        has_originals: true,
        cache_bytes: config.cache_bytes,
    };
    let from = format!("{}/{}", place.trim_end_matches('/'), newest.id);
    let restored = snapshots::restore(&from, &target).await;
    let (_, damage) =
        restored.with_context(|| format!("the snapshot {from} cannot be begun with"))?;
    ensure!(
        damage.is_empty(),
        "the snapshot {from} is damaged: {}",
        damage[0]
    );
    Ok(())
}

/// Applies the log, and has the models follow the generations.
pub(crate) async fn run(replica: Replica, index: Index, serving: Serving) {
    let turned: Turned = Box::new(move || {
        let serving = serving.clone();
        Box::pin(async move {
            let changed = serving.reconcile().await;
            if let Err(error) = &changed {
                tracing::warn!(%error, "a model of the gallery is not started; nothing more is applied until it is");
            }
            changed.is_ok()
        })
    });
    replica.run(index, turned).await;
}

/// Has an index follow the log. One that lost something is refused, for it would go on as another than its fellows.
pub(crate) fn follow(place: LogConnection, index: &Index) -> anyhow::Result<Replica> {
    check_whole(index)?;
    Ok(Replica::new(place, index)?)
}

fn check_whole(index: &Index) -> anyhow::Result<()> {
    let damage = index.facts().damage;
    ensure!(
        damage.is_empty(),
        "the data folder is damaged ({}); start with an empty one, which is filled from the log",
        damage
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ")
    );
    Ok(())
}
