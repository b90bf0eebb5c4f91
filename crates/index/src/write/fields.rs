//! Stages changes of fields: declares, builds and deletes them.

use std::ops::Range;

use crate::{
    disk::{
        fields::{Fields, Words},
        key::{self, Key},
        page::SLOTS,
    },
    memory::segment::{Change, Entry},
    types::{
        error::IndexError,
        field::{Field, FieldPath, FieldType},
    },
    write::{group::Group, layout::LayoutChange},
};

/// The maximum number of fields.
const MAX_FIELDS: usize = 32;

/// The properties of images that filters test by these names.
const RESERVED_PATHS: [&str; 4] = ["labels", "id", "created_at_ms", "updated_at_ms"];

/// The words of an image in one field, before and after.
struct Built {
    page: u32,
    slot: u8,
    before: Words,
    after: Words,
}

impl Group<'_> {
    /// The fields after the staged writes.
    pub(super) fn fields(&self) -> Result<Fields, IndexError> {
        match &self.layout_change {
            Some(LayoutChange::Fields(fields)) => Ok(fields.clone()),
            _ => Fields::read(&self.db),
        }
    }

    /// Declares a field, and returns it. Returns the existing one if it has the same type.
    pub fn declare(&mut self, path: FieldPath, kind: FieldType) -> Result<Field, IndexError> {
        if path
            .only_name()
            .is_some_and(|name| RESERVED_PATHS.contains(&name))
        {
            return Err(IndexError::ReservedField { path });
        }
        let mut fields = self.fields()?;
        if let Some(present) = fields.fields.iter().find(|field| field.path == path) {
            return if present.kind == kind {
                Ok(present.clone())
            } else {
                Err(IndexError::FieldType {
                    path,
                    present: present.kind,
                    given: kind,
                })
            };
        }
        if fields.fields.len() >= MAX_FIELDS {
            return Err(IndexError::ManyFields { most: MAX_FIELDS });
        }
        fields.last = fields.last.checked_add(1).ok_or(IndexError::Full)?;
        let field = Field {
            number: fields.last,
            path,
            kind,
            built: self.state.images == 0,
        };
        fields.fields.push(field.clone());
        self.layout_change = Some(LayoutChange::Fields(fields));
        Ok(field)
    }

    /// Stores the words of the images on some row pages in a field. Changes nothing for images that
    /// have them. Skips damaged pages and payloads.
    pub fn build_field(&mut self, number: u32, pages: Range<u32>) -> Result<(), IndexError> {
        let mut fields = self.staged.fields.iter();
        let field = fields.position(|field| field.number == number);
        let field = field.ok_or(IndexError::NoSuchField { number })?;
        // Everything is read and computed before anything is staged. The images of this group have
        // their words, because the field was there when it began.
        let mut built = Vec::new();
        let pages = if pages.is_empty() { 0..0 } else { pages };
        for key in self.db.range(key::rows(pages)).keys() {
            let Some(Key::Rows(page)) = Key::from_bytes(&key?) else {
                continue;
            };
            let rows = match self.staged.read_rows(page) {
                Err(error @ IndexError::Corrupt { .. }) => {
                    tracing::error!(%error, field = number, "filters by the field do not find the images");
                    continue;
                }
                rows => rows?,
            };
            for (slot, row) in rows {
                let sequence = page * SLOTS + u32::from(slot);
                let Some(after) = self.staged.stored_words(field, sequence, &row)? else {
                    continue;
                };
                let stored = self.staged.values(field, page)?.words.get(&slot);
                let before = stored.cloned().unwrap_or_default();
                if before != after {
                    built.push(Built {
                        page,
                        slot,
                        before,
                        after,
                    });
                }
            }
        }
        let (mut names_before, mut names_after) = (Vec::new(), Vec::new());
        for Built {
            page,
            slot,
            before,
            after,
        } in built
        {
            names_before.extend(self.staged.keywords(field, &before));
            names_after.extend(self.staged.keywords(field, &after));
            let page_of_values = self.staged.values(field, page)?;
            page_of_values.set(slot, after.clone());
            self.change_words(page * SLOTS + u32::from(slot), field, &before, &after);
        }
        self.staged.count_names(names_before, names_after)
    }

    /// Records for the directories that the words of an image in one field change.
    pub(super) fn change_words(
        &mut self,
        sequence: u32,
        field: usize,
        before: &[u64],
        after: &[u64],
    ) {
        // The rest of the image does not change, so it need not be known.
        let entry = |words: &[u64]| {
            let mut values = vec![Words::new(); field];
            values.push(words.to_vec());
            Entry {
                codes: Vec::new(),
                labels: Vec::new(),
                id: 0,
                values,
                created_at_ms: 0,
                updated_at_ms: 0,
            }
        };
        for side in &mut self.sides {
            side.changes.push(Change {
                sequence,
                only_field: Some(field),
                before: Some(entry(before)),
                after: Some(entry(after)),
            });
        }
    }

    /// Marks a field as built: filters can use it from now on.
    pub fn finish_field(&mut self, number: u32) -> Result<(), IndexError> {
        let mut fields = self.fields()?;
        let field = fields
            .fields
            .iter_mut()
            .find(|field| field.number == number);
        let field = field.ok_or(IndexError::NoSuchField { number })?;
        if !field.built {
            field.built = true;
            self.layout_change = Some(LayoutChange::Fields(fields));
        }
        Ok(())
    }

    /// Deletes a field. Returns true if it existed. [`purge`](Self::purge) removes its pages.
    pub fn delete_field(&mut self, path: &FieldPath) -> Result<bool, IndexError> {
        let mut fields = self.fields()?;
        let count = fields.fields.len();
        fields.fields.retain(|field| field.path != *path);
        let existed = fields.fields.len() < count;
        if existed {
            self.layout_change = Some(LayoutChange::Fields(fields));
        }
        Ok(existed)
    }
}
