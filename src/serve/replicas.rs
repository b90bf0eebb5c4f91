//! Joins a service to a shared gallery: connects to its log, starts an empty data folder from a
//! snapshot, and checks that the originals, the model and the store are the gallery's.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use uuid::Uuid;

use crate::{
    config::{Precision, Serve},
    gallery::Originals,
    index::{Index, IndexConfig, IndexError, Requirement},
    inference::{registry, serving::Serving},
    model,
    replica::{GalleryManifest, LogConnection, Replica, ReplicaError, SyncModels},
    snapshots::{self, Target},
};

/// How long an unreferenced original is kept, because another replica may still use it.
pub(crate) const ORIGINAL_REMOVAL_DELAY: Duration = Duration::from_mins(1);

/// Connects to the log and returns its gallery. If there is no log, creates one that begins with
/// the store in the data folder, or else with this service's model.
pub(crate) async fn connect(
    config: &Serve,
    servers: &str,
) -> anyhow::Result<(LogConnection, GalleryManifest)> {
    let nats = &config.nats;
    ensure!(
        config.gallery.originals.is_some(),
        "with --nats all replicas keep originals in one place; give it with --originals"
    );
    let (card, id) = registry::describe(&config.model)?;
    let precision = match config.compute.precision {
        Precision::Auto => model::preferred_precision(&config.compute.device)?,
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
    let connection =
        LogConnection::connect(servers, nats.nats_credentials.as_ref(), &nats.nats_gallery);
    let connection = connection.await?;
    let gallery = match connection.manifest().await? {
        Some(gallery) => gallery,
        None => {
            let new = existing_gallery(config, &new).await?.unwrap_or(new);
            connection
                .create(&new, usize::from(nats.nats_replicas))
                .await?
        }
    };
    // A log that begins with a store needs no model, because the store and its snapshots contain
    // the model.
    if gallery.began_with.is_none() && gallery.model != id {
        return Err(ReplicaError::Model {
            gallery: gallery.model,
            given: id,
        }
        .into());
    }
    Ok((connection, gallery))
}

/// Returns the gallery in the data folder of a service that ran alone, if there is one. Checks that
/// the gallery is undamaged and that its originals are in the shared place. It can then follow the
/// log that begins with it.
async fn existing_gallery(
    config: &Serve,
    new: &GalleryManifest,
) -> anyhow::Result<Option<GalleryManifest>> {
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
        sketch_storage: None,
        gallery: None,
        cache_bytes: config.cache_bytes,
    });
    let index = match opened {
        Err(IndexError::Follows { path }) => bail!(
            "the data folder {} follows the log of a gallery, which is not on these servers under the name {}; give its name with \
             --nats-gallery",
            path.display(),
            config.nats.nats_gallery
        ),
        opened => opened?,
    };
    check_whole(&index)?;
    let location = config.gallery.originals();
    Originals::open(&location, index.id(), index.has_originals()).await?;
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

/// Fills an empty data folder from the gallery's newest snapshot, if there is one. The log contains
/// the writes after the snapshot.
pub(crate) async fn restore_newest(
    config: &Serve,
    gallery: &GalleryManifest,
) -> anyhow::Result<()> {
    let folder = &config.gallery.data_dir;
    if folder.join("db").exists() {
        return Ok(());
    }
    let newest = match &config.snapshots {
        Some(location) => {
            (snapshots::newest(location, gallery.id).await?).map(|newest| (location, newest))
        }
        None => None,
    };
    let Some((location, newest)) = newest else {
        ensure!(
            gallery.began_with.is_none(),
            "the gallery has images from before its log began; take a snapshot at a replica that has them: \
             POST /admin/snapshots, and start with --snapshots and the place of that snapshot"
        );
        return Ok(());
    };
    tracing::info!(id = %newest.id, position = newest.position, "starting from the newest snapshot");
    let target = Target {
        data_dir: folder.clone(),
        originals: config.gallery.originals(),
        has_originals: true,
        cache_bytes: config.cache_bytes,
    };
    let snapshot_url = format!("{}/{}", location.trim_end_matches('/'), newest.id);
    let restored = snapshots::restore(&snapshot_url, &target).await;
    let (_, damage) =
        restored.with_context(|| format!("cannot start from the snapshot {snapshot_url}"))?;
    ensure!(
        damage.is_empty(),
        "the snapshot {snapshot_url} is damaged: {}",
        damage[0]
    );
    Ok(())
}

/// Applies the log, and changes the models when the generations change.
pub(crate) async fn run(replica: Replica, index: Index, serving: Serving) {
    let sync_models: SyncModels = Box::new(move || {
        let serving = serving.clone();
        Box::pin(async move {
            let changed = serving.reconcile().await;
            if let Err(error) = &changed {
                tracing::warn!(%error, "cannot start a model of the gallery; applying the log waits until the model starts");
            }
            changed.is_ok()
        })
    });
    replica.run(index, sync_models).await;
}

/// Makes an index follow the log. Refuses a damaged index, because it would differ from those of
/// other replicas.
pub(crate) fn follow(connection: LogConnection, index: &Index) -> anyhow::Result<Replica> {
    check_whole(index)?;
    Ok(Replica::new(connection, index)?)
}

fn check_whole(index: &Index) -> anyhow::Result<()> {
    let damage = index.stats().damage;
    ensure!(
        damage.is_empty(),
        "the data folder is damaged ({}); start with an empty one, which the log fills",
        damage
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ")
    );
    Ok(())
}
