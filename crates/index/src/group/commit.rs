//! The commit of a group: its pages, names, summary and turn in one batch of sled's, its segments in the directories, and then a flush.
//! Knows what has to change together and in which order; not what any write of the group was.

use std::sync::Arc;

use super::Group;
use crate::{
    error::IndexError, key::Key, page, present::Added, segment::Segment,
    sketches::page as sketches, state::State,
};

impl Group<'_> {
    /// Makes all of it visible at once, then durable, and tells the summary after it. The tree and the directories change
    /// together for whoever holds the gate; the flush, which is slow, happens outside it.
    pub fn commit(mut self) -> Result<State, IndexError> {
        let unchanged = self.sides.iter().all(|side| side.changes.is_empty());
        let idle = unchanged && self.originals.is_empty() && self.turn.is_none();
        if idle && self.purged == 0 && self.applied.is_none() {
            return Ok(self.state);
        }
        let put = |batch: &mut sled::Batch, key, page: Option<Vec<u8>>| match page {
            Some(page) => batch.insert(key, page),
            None => batch.remove(key),
        };
        for (number, page) in &self.staged.rows {
            let bytes = (!page.is_empty()).then(|| page::encode(page)).transpose()?;
            put(&mut self.staged.batch, Key::Rows(*number).to_bytes(), bytes);
        }
        let present = self.staged.present.clone();
        for (side, pages) in present.sides().zip(&self.staged.codes) {
            let generation = &side.generation;
            for (number, page) in pages {
                let encode = || page::encode_codes(page, &generation.lengths);
                let bytes = (!page.is_empty()).then(encode);
                put(&mut self.staged.batch, generation.codes_key(*number), bytes);
            }
        }
        for (side, pages) in present.sides().zip(&self.staged.sketches) {
            for (number, page) in pages {
                let bytes = (!page.is_empty()).then(|| sketches::encode(page));
                let key = side.generation.sketches_key(*number);
                put(&mut self.staged.batch, key, bytes);
            }
        }
        self.state.commit += 1;
        self.state.names = self.staged.next_name();
        self.state.write(&mut self.staged.batch)?;
        if let Some(applied) = self.applied {
            let key = Key::Position.to_bytes();
            self.staged.batch.insert(key, applied.to_bytes());
        }
        if let Some(turn) = &self.turn {
            turn.write(&mut self.staged.batch);
        }
        let released = self.originals.write(&mut self.staged.batch)?;
        let segments = present.sides().zip(self.sides).map(|(side, changed)| {
            let directory = &side.directory;
            let segment = Segment::from_changes(directory.kinds(), &changed.changes);
            let distinct = directory.distinct_after(&segment);
            Added {
                segment: Arc::new(segment),
                distinct,
                sketches: changed.sketches,
                counts: changed.counts,
            }
        });
        let segments: Vec<_> = segments.filter(|_| !unchanged).collect();
        let images = self.state.images;
        let commit = (self.changed).map(|position| position.unwrap_or(self.state.commit));
        self.store.change(self.staged.batch, |now| {
            let mut after = now.after(segments, images);
            after.commit = commit.unwrap_or(now.commit);
            match self.turn {
                Some(turn) => turn.of(&after),
                None => after,
            }
        })?;
        self.store.db.flush()?;
        let acknowledged = self.store.acknowledged.set(self.state.commit);
        acknowledged.map_err(sled::Error::from)?;
        self.store.release(released);
        Ok(self.state)
    }
}
