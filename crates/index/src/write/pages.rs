//! Stages the row, codes, sketch and values of an image in their pages, and records the change for
//! each generation's directory.

use crate::{
    disk::{
        fields::Words,
        page::{self, CodeWords},
        row::Row,
        sketch_page,
    },
    memory::{
        segment::{Change, Entry},
        sketches::array::SketchChange,
    },
    types::{error::IndexError, id::ImageId, sketch::Sketch},
    write::{
        group::Group,
        staged::{NewState, StoredImage},
    },
};

impl Group<'_> {
    /// Reads the pages that a write of an image changes, so that damage fails the write before
    /// anything is staged.
    pub(crate) fn read_pages(&mut self, sequence: u32) -> Result<(), IndexError> {
        let (number, _) = page::page_and_slot(sequence);
        self.staged.rows(number)?;
        for field in 0..self.staged.fields.len() {
            self.staged.values(field, number)?;
        }
        let (sketches, _) = sketch_page::page_and_slot(sequence);
        (0..self.sides.len()).try_for_each(|side| {
            self.staged.codes(side, number)?;
            self.staged.sketches(side, sketches).map(drop)
        })
    }

    /// Stores or removes an image's sketch in a side's page, and records the change.
    pub(crate) fn stage_sketch(
        &mut self,
        side: usize,
        sequence: u32,
        sketch: Option<Sketch>,
    ) -> Result<(), IndexError> {
        let (number, slot) = sketch_page::page_and_slot(sequence);
        let Some(page) = self.staged.sketches(side, number)? else {
            return Ok(());
        };
        match sketch.clone() {
            Some(sketch) => page.insert(slot, sketch),
            None => page.remove(&slot),
        };
        self.sides[side]
            .sketches
            .push(SketchChange { sequence, sketch });
        Ok(())
    }

    /// Stores or removes an image's row, codes and values in their pages, and records the change
    /// for the directories.
    pub(crate) fn stage_row(
        &mut self,
        sequence: u32,
        id: &ImageId,
        before: Option<StoredImage>,
        after: Option<NewState>,
    ) -> Result<(), IndexError> {
        let (number, slot) = page::page_and_slot(sequence);
        let hash = self.store.hash(id);
        let names_before = before.as_ref();
        let names_before = names_before.map(|found| self.names_of(&found.row, &found.values));
        let names_after = after
            .as_ref()
            .map(|new| self.names_of(&new.row, &new.values));
        let entry = |row: &Row, words: &Option<CodeWords>, values: &[Words]| Entry {
            codes: words.clone().unwrap_or_default(),
            labels: row.labels.clone(),
            id: hash,
            values: values.to_vec(),
            created_at_ms: row.created_at_ms,
            updated_at_ms: row.updated_at_ms(),
        };
        for (at, side) in self.sides.iter_mut().enumerate() {
            let side_before = before.as_ref().map(|found| (found, &found.words[at]));
            let side_after = after.as_ref().map(|new| (new, &new.words[at]));
            side.counts
                .count(side_before.and_then(|(_, words)| words.as_ref()), -1);
            side.counts
                .count(side_after.and_then(|(_, words)| words.as_ref()), 1);
            side.changes.push(Change {
                sequence,
                only_field: None,
                before: side_before.map(|(found, words)| entry(&found.row, words, &found.values)),
                after: side_after.map(|(new, words)| entry(&new.row, words, &new.values)),
            });
            let page = self.staged.codes(at, number)?;
            match side_after.and_then(|(_, words)| words.clone()) {
                Some(words) => page.insert(slot, words),
                None => page.remove(&slot),
            };
        }
        let (row, mut values) = match after {
            Some(new) => (Some(new.row), new.values.into_iter()),
            None => (None, Vec::new().into_iter()),
        };
        for field in 0..self.staged.fields.len() {
            let words = values.next().unwrap_or_default();
            self.staged.values(field, number)?.set(slot, words);
        }
        match row {
            Some(row) => self.staged.rows(number)?.insert(slot, row),
            None => self.staged.rows(number)?.remove(&slot),
        };
        let (before, after) = (
            names_before.unwrap_or_default(),
            names_after.unwrap_or_default(),
        );
        self.staged.count_names(before, after)
    }

    /// The numbers of the names that an image has: each once as a label, and once in each field as
    /// a keyword.
    fn names_of(&self, row: &Row, values: &[Words]) -> Vec<u32> {
        let mut names = row.labels.clone();
        names.sort_unstable();
        names.dedup();
        for (field, words) in values.iter().enumerate() {
            names.extend(self.staged.keywords(field, words));
        }
        names
    }
}
