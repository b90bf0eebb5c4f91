//! Opening a store: its pages are read through on all cores, damage is named and left out, and the rest is searchable.
//!
//! `load` the pages · `part` what a run of pages holds · `columns` the directory made of it · `sketches` ·
//! `verify` the check of a whole store.

use std::{
    hash::RandomState,
    path::Path,
    sync::{Arc, Mutex, RwLock, atomic::AtomicU64},
};

use uuid::Uuid;

use crate::{
    disk::{
        self,
        engine::{self, Database, room::Room, swap},
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

/// What a store begins with.
pub struct New {
    /// The generation that is searched.
    pub generation: Generation,
    /// The gallery whose log it follows, if it does.
    pub gallery: Option<LogOrigin>,
}

/// Opens or makes a store, and tells its summary. Without what a new one begins with there must be one; with `exactly` one that is
/// there has to be like it.
///
/// # Errors
/// All that say why the folder cannot be used. Damaged pages are no error but [`damage`](Store::damage).
pub fn store(
    path: &Path,
    cache_bytes: u64,
    kept: Option<SketchStorage>,
    wanted: Option<New>,
    exactly: bool,
) -> Result<(Store, State), IndexError> {
    swap::finish(path).map_err(|source| IndexError::Copy { source })?;
    let db = engine::open::open(path, cache_bytes)?;
    let (generations, new) = match (schema::check(&db)?, wanted.as_ref()) {
        (true, wanted) => {
            let stored = Generations::read(&db)?;
            if let Some(wanted) = wanted.filter(|_| exactly) {
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
    let hasher = RandomState::new();
    let Loaded {
        active,
        standby,
        mut state,
        mut damage,
    } = load::load(&db, &generations, kept, |id| view::store::hash(&hasher, id))?;
    if commits > state.commit {
        damage.push(Damage {
            what: "the end of the store".to_owned(),
            why: format!(
                "{commits} commits were acknowledged and it ends with the {}th",
                state.commit
            ),
        });
    }
    let unreferenced = match disk::originals::unreferenced(&db) {
        Ok(unreferenced) => unreferenced,
        Err(IndexError::Corrupt { what, why }) => {
            damage.push(Damage { what, why });
            Vec::new()
        }
        Err(other) => return Err(other),
    };
    for damage in &damage {
        tracing::error!(%damage, "the data folder is damaged; what is not named can be read");
    }
    let (released, removals) = tokio::sync::mpsc::unbounded_channel();
    let position = position::position(&db)?;
    let broken = LogPosition::broken(&db)?;
    let commit = position.unwrap_or(state.commit);
    let store = Store {
        database: Database::new(db, path, cache_bytes),
        room: Room::new(path),
        follows: position.is_some(),
        named: state.blocks > 0,
        id,
        released,
        removals: Mutex::new(Some(removals)),
        damage,
        acknowledged,
        gate: RwLock::new(()),
        moment: AtomicU64::new(0),
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
        // Somebody else may just be about to store what they are of.
    } else if store.damage.is_empty() {
        // Left behind by a process that was killed, or by removals that failed.
        store.release(unreferenced);
    } else {
        // Rows that are lost may have had names that look loose now, or that look as if they had never been given.
        state.blocks += disk::originals::LEAP;
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
