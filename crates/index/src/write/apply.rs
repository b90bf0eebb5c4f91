//! Maps each kind of write to the method of the group that does it.

use crate::{
    disk::row::Row,
    types::{
        error::IndexError,
        filter::{Filter, condition::Subject},
        id::ImageId,
        revision::Revision,
        write::{Outcome, Write},
    },
    write::{
        group::{Group, LabelChange},
        staged::StoredImage,
    },
};

impl Group<'_> {
    /// Does a write. A write that fails leaves nothing behind, and fails in every store that
    /// applies the same writes before it.
    pub fn write(&mut self, write: Write) -> Result<Outcome, IndexError> {
        let keeps_images = matches!(
            write,
            Write::OpenBlock
                | Write::Forget(_)
                | Write::Declare { .. }
                | Write::BuildField { .. }
                | Write::FieldBuilt { .. }
                | Write::DeleteField { .. }
        );
        if !keeps_images {
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
            Write::Merge {
                id,
                labels: replace,
                add_labels: add,
                remove_labels: remove,
                payload,
                at_ms,
            } => {
                let labels = LabelChange {
                    replace,
                    add,
                    remove,
                };
                Outcome::Patched(self.merge(id, labels, payload, at_ms)?.map(Box::new))
            }
            Write::Declare { path, kind } => Outcome::Field(self.declare(path, kind)?),
            Write::BuildField { number, pages } => {
                self.build_field(number, pages)?;
                Outcome::Nothing
            }
            Write::FieldBuilt { number } => {
                self.finish_field(number)?;
                Outcome::Nothing
            }
            Write::DeleteField { path } => Outcome::Deleted(self.delete_field(&path)?),
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
                let present = found
                    .as_ref()
                    .map(|found| self.revision(found.sequence, &found.row));
                let holds = expected.holds(present.as_ref());
                let passes = match expected.passes {
                    Some(filter) if holds => self.passes(filter, &id, found.as_ref())?,
                    _ => true,
                };
                if !holds || !passes {
                    return Err(IndexError::PreconditionFailed {
                        id,
                        present,
                        is_filtered: !passes,
                    });
                }
                self.write(*write)?
            }
        })
    }

    /// Returns true if an image exists and passes the filter with this text form, after the staged
    /// writes.
    fn passes(
        &mut self,
        filter: String,
        id: &ImageId,
        found: Option<&StoredImage>,
    ) -> Result<bool, IndexError> {
        // Many writes in a row have the same filter. The fields of a group do not change.
        let condition = match self.last_filter.take() {
            Some((text, condition)) if text == filter => condition,
            _ => filter.parse::<Filter>()?.resolve(&self.staged.fields)?,
        };
        let (_, condition) = self.last_filter.insert((filter, condition));
        let Some(StoredImage { sequence, row, .. }) = found else {
            return Ok(false);
        };
        let labels = self.staged.named(&row.labels)?;
        let payload = self.staged.payload(*sequence, row)?;
        let subject = Subject {
            id,
            labels: &labels,
            payload: payload.as_ref(),
            created_at_ms: row.created_at_ms,
            updated_at_ms: row.updated_at_ms(),
        };
        Ok(condition.holds(&self.staged.fields, &subject))
    }

    /// The revision of an image in the active generation.
    pub(crate) fn revision(&self, sequence: u32, row: &Row) -> Revision {
        let generation = self.staged.view.active.generation.number;
        row.revision(self.store.id, generation, sequence)
    }
}
