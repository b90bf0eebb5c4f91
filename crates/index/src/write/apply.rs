//! A write of a log as what a group does. Knows which is which; what each does is told where it is done.

use crate::{
    disk::row::Row,
    types::{
        error::IndexError,
        revision::Revision,
        write::{Done, Write},
    },
    write::group::Group,
};

impl Group<'_> {
    /// Does a write. One that fails leaves nothing behind, and fails in every store that it comes to after the same writes.
    pub fn write(&mut self, write: Write) -> Result<Done, IndexError> {
        if !matches!(write, Write::OpenBlock | Write::Forget(_)) {
            self.changed = Some(self.applied.map(|applied| applied.position));
        }
        Ok(match write {
            Write::Put(image) => {
                let (record, created) = self.put(*image)?;
                Done::Put(Box::new(record), created)
            }
            Write::Patch {
                id,
                labels,
                payload,
                at_ms,
            } => Done::Patched(self.patch(id, labels, payload, at_ms)?.map(Box::new)),
            Write::Delete { id } => Done::Deleted(self.delete(id)?),
            Write::OpenBlock => Done::Block(self.open_block()),
            Write::Forget(names) => {
                self.forget(&names)?;
                Done::Nothing
            }
            Write::Begin(generation) => Done::Number(self.begin(generation)?),
            Write::Recode { number, images } => Done::Recoded(self.recode(number, images)?),
            Write::Activate(number) => {
                self.activate(number)?;
                Done::Nothing
            }
            Write::Discard => {
                self.discard()?;
                Done::Nothing
            }
            Write::If {
                id,
                expected,
                write,
            } => {
                let found = self.staged.find(&id)?;
                let present = found.map(|found| self.revision(found.sequence, &found.row));
                if !expected.holds(present.as_ref()) {
                    return Err(IndexError::Unexpected { id, present });
                }
                self.write(*write)?
            }
        })
    }

    /// What an image of the active generation is as of.
    pub(crate) fn revision(&self, sequence: u32, row: &Row) -> Revision {
        let generation = self.staged.present.active.generation.number;
        row.revision(self.store.id, generation, sequence)
    }
}
