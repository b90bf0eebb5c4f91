//! Figures about an index as it is now: how much it holds, and what that takes.
//! Reads what is in memory and asks sled for its size; goes through nothing that is stored.

use crate::{Index, disk::schema, types::query::Facts};

impl Index {
    /// Figures about the index.
    pub fn facts(&self) -> Facts {
        let store = &self.0.store;
        let present = store.present();
        let (directory, generation) = (&present.active.directory, &present.active.generation);
        let memory = present.sides();
        let memory = memory.map(|side| (side.directory.bytes() + side.sketches.bytes()) as u64);
        let size = store.db().and_then(|db| Ok(db.size_on_disk()?));
        Facts {
            images: present.images,
            left_out: present.active.left_out,
            distinct_codes: directory.distinct().collect(),
            memory_bytes: memory.sum(),
            damage: store.damage.clone(),
            precision: generation.precision.clone(),
            generation: generation.number,
            schema: schema::SCHEMA,
            log_broken: present.broken,
            opened: store.database().times(),
            disk_full: !self.has_room(),
            disk_bytes: size.unwrap_or_else(|error| {
                tracing::warn!(%error, "the size of the store is not known");
                0
            }),
        }
    }
}
