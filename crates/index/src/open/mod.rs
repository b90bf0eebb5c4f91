//! Opens a store: reads its pages on all cores, names damaged ones and leaves them out.
//!
//! - `load`: the pages
//! - `part`: the contents of a run of pages
//! - `columns`: the directory
//! - `sketches`: the sketches of all images
//! - `verify`: the check of a whole store

use std::{
    hash::RandomState,
    path::Path,
    sync::{self, Arc, atomic::AtomicU64},
};

use parking_lot::{Mutex, RwLock};
use uuid::Uuid;

use crate::{
    disk::{
        self,
        engine::{self, Database, disk_space::DiskSpace, swap},
        fields::Fields,
        generations::Generations,
        key::Key,
        position::{self, LogPosition},
        schema,
        state::{Acknowledged, State},
    },
    types::{
        config::{LogOrigin, SketchStorage},
        error::{Damage, IndexError},
        generation::Generation,
    },
    view::{self, generations::View, store::Store},
};

use load::Loaded;

pub mod columns;
pub mod load;
pub mod part;
pub mod sketches;
pub mod verify;

/// The contents of a new store.
pub struct NewStore {
    /// The active generation.
    pub generation: Generation,
    /// The gallery whose log it follows, if any.
    pub gallery: Option<LogOrigin>,
}

/// Opens or creates a store, and returns it with its summary. Without `wanted`, the store must
/// exist. With `exact_model`, an existing store must have the wanted model.
///
/// # Errors
/// All errors that say why the folder cannot be used. Damaged pages are not an error; they are
/// listed in [`damage`](Store::damage).
pub fn open_store(
    path: &Path,
    cache_bytes: u64,
    sketch_storage: Option<SketchStorage>,
    wanted: Option<NewStore>,
    exact_model: bool,
) -> Result<(Store, State), IndexError> {
    swap::finish(path).map_err(|source| IndexError::Copy { source })?;
    let db = engine::open::open(path, cache_bytes)?;
    let (generations, new) = match (schema::check(&db)?, wanted.as_ref()) {
        (true, wanted) => {
            let stored = Generations::read(&db)?;
            if let Some(wanted) = wanted.filter(|_| exact_model) {
                stored.active.check(&wanted.generation)?;
            }
            (stored, false)
        }
        (false, Some(wanted)) => (Generations::first(wanted.generation.clone()), true),
        (false, None) => {
            return Err(IndexError::Empty {
                path: path.to_owned(),
            });
        }
    };
    let opened = |source: std::io::Error| IndexError::Open {
        path: path.to_owned(),
        source: source.into(),
    };
    let (acknowledged, commits) = Acknowledged::open(path).map_err(opened)?;
    if new {
        let mut batch = engine::Batch::default();
        schema::stamp(&mut batch);
        generations.write(&mut batch);
        State::default().write(&mut batch)?;
        let gallery = wanted.as_ref().and_then(|new| new.gallery.as_ref());
        let id = gallery.map_or_else(Uuid::new_v4, |gallery| gallery.id);
        batch.insert(Key::Id.to_bytes(), id.as_bytes());
        if gallery.is_some() {
            batch.insert(Key::Position.to_bytes(), LogPosition::START.to_bytes());
        }
        db.apply_batch(batch)?;
        db.flush()?;
    }
    let id = id(&db)?;
    let begins = match &wanted {
        Some(wanted) => position::check_log_origin(&db, id, path, wanted.gallery.as_ref())?,
        None => false,
    };
    let fields = Fields::read(&db)?.fields.into();
    let hasher = RandomState::new();
    let Loaded {
        active,
        standby,
        mut state,
        mut damage,
    } = load::load(&db, &generations, &fields, sketch_storage, |id| {
        view::store::hash(&hasher, id)
    })?;
    let lost_commits =
        (commits > state.commit).then(|| Damage::lost_commits(commits, state.commit));
    damage.extend(lost_commits.clone());
    let unreferenced = match disk::originals::unreferenced(&db) {
        Ok(unreferenced) => unreferenced,
        Err(IndexError::Corrupt { what, why }) => {
            damage.push(Damage { what, why });
            Vec::new()
        }
        Err(other) => return Err(other),
    };
    for damage in &damage {
        tracing::error!(%damage, "the data folder is damaged; everything else can be read");
    }
    let (released, released_receiver) = tokio::sync::mpsc::unbounded_channel();
    let position = position::position(&db)?;
    let broken = LogPosition::broken(&db)?;
    let commit = position.unwrap_or(state.commit);
    let store = Store {
        database: Database::new(db, path, cache_bytes),
        disk_space: DiskSpace::new(path),
        follows: position.is_some(),
        had_originals: state.blocks > 0,
        id,
        released,
        released_receiver: Mutex::new(Some(released_receiver)),
        damage,
        lost_commits,
        acknowledged,
        gate: sync::RwLock::new(()),
        change_count: AtomicU64::new(0),
        view: RwLock::new(Arc::new(View {
            active,
            standby,
            images: state.images,
            commit,
            broken,
        })),
        hasher,
    };
    if store.follows && !begins {
        // Another replica may be about to store an image with one of these keys.
    } else if store.damage.is_empty() {
        // Left by a killed process or by failed removals.
        store.release(unreferenced);
    } else {
        // Lost rows may have keys that look unreferenced or never allocated. So nothing is removed,
        // and new keys start far above.
        state.blocks += disk::originals::SKIPPED_BLOCKS;
    }
    Ok((store, state))
}

fn id(db: &engine::Db) -> Result<Uuid, IndexError> {
    let value = db.get(Key::Id.to_bytes())?;
    let id = value.and_then(|value| Uuid::from_slice(&value).ok());
    Ok(id.ok_or_else(|| Damage {
        what: "the store's id".to_owned(),
        why: "it is missing or malformed".to_owned(),
    })?)
}
