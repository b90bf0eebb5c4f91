//! Maps each kind of write to the method of the group that does it.

use crate::{
    disk::row::Row,
    types::{
        error::IndexError,
        revision::Revision,
        write::{Outcome, Write},
    },
    write::group::Group,
};

impl Group<'_> {
    /// Does a write. A write that fails leaves nothing behind, and fails in every store that
    /// applies the same writes before it.
    pub fn write(&mut self, write: Write) -> Result<Outcome, IndexError> {
        if !matches!(write, Write::OpenBlock | Write::Forget(_)) {
            let own_commit = self.state.commit + 1;
            self.changed_at = Some(self.applied.map_or(own_commit, |applied| applied.position));
        }
        Ok(match write {
            Write::Put(image) => {
                let (record, created) = self.put(*image)?;
                Outcome::Put(Box::new(record), created)
            }
            Write::Patch {
                id,
                labels,
                payload,
                at_ms,
            } => Outcome::Patched(self.patch(id, labels, payload, at_ms)?.map(Box::new)),
            Write::Delete { id } => Outcome::Deleted(self.delete(id)?),
            Write::OpenBlock => Outcome::Block(self.open_block()),
            Write::Forget(keys) => {
                self.forget_originals(&keys)?;
                Outcome::Nothing
            }
            Write::Begin(generation) => Outcome::Number(self.begin(generation)?),
            Write::Recode { number, images } => Outcome::Recoded(self.recode(number, images)?),
            Write::Activate(number) => {
                self.activate(number)?;
                Outcome::Nothing
            }
            Write::Discard => {
                self.discard()?;
                Outcome::Nothing
            }
            Write::If {
                id,
                expected,
                write,
            } => {
                let found = self.staged.find(&id)?;
                let present = found.map(|found| self.revision(found.sequence, &found.row));
                if !expected.holds(present.as_ref()) {
                    return Err(IndexError::PreconditionFailed { id, present });
                }
                self.write(*write)?
            }
        })
    }

    /// The revision of an image in the active generation.
    pub(crate) fn revision(&self, sequence: u32, row: &Row) -> Revision {
        let generation = self.staged.view.active.generation.number;
        row.revision(self.store.id, generation, sequence)
    }
}
