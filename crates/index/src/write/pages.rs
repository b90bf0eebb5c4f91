//! Stages the row, codes and sketch of an image in their pages, and records the change for each
//! generation's directory.

use std::collections::BTreeSet;

use crate::{
    disk::{
        page::{self, CodeWords},
        row::Row,
        sketch_page,
    },
    memory::{
        segment::{Change, Entry},
        sketches::array::SketchChange,
    },
    types::{error::IndexError, id::ImageId, sketch::Sketch},
    write::{group::Group, staged::StoredImage},
};

impl Group<'_> {
    /// Reads the pages that a write of an image changes, so that damage fails the write before
    /// anything is staged.
    pub(crate) fn read_pages(&mut self, sequence: u32) -> Result<(), IndexError> {
        let (number, _) = page::page_and_slot(sequence);
        self.staged.rows(number)?;
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

    /// Stores or removes an image's row and codes in their pages, and records the change for the
    /// directories.
    pub(crate) fn stage_row(
        &mut self,
        sequence: u32,
        id: &ImageId,
        before: Option<StoredImage>,
        after: Option<(Row, Vec<Option<CodeWords>>)>,
    ) -> Result<(), IndexError> {
        let (number, slot) = page::page_and_slot(sequence);
        let hash = self.store.hash(id);
        let labels = |row: Option<&Row>| -> BTreeSet<u32> {
            row.iter()
                .flat_map(|row| row.labels.iter().copied())
                .collect()
        };
        let labels_before = labels(before.as_ref().map(|found| &found.row));
        let labels_after = labels(after.as_ref().map(|(row, _)| row));
        let entry = |row: &Row, words: &Option<CodeWords>| Entry {
            codes: words.clone().unwrap_or_default(),
            labels: row.labels.clone(),
            id: hash,
        };
        for (at, side) in self.sides.iter_mut().enumerate() {
            let side_before = before.as_ref().map(|found| (&found.row, &found.words[at]));
            let side_after = after.as_ref().map(|(row, words)| (row, &words[at]));
            side.counts
                .count(side_before.and_then(|(_, words)| words.as_ref()), -1);
            side.counts
                .count(side_after.and_then(|(_, words)| words.as_ref()), 1);
            side.changes.push(Change {
                sequence,
                before: side_before.map(|(row, words)| entry(row, words)),
                after: side_after.map(|(row, words)| entry(row, words)),
            });
            let page = self.staged.codes(at, number)?;
            match side_after.and_then(|(_, words)| words.clone()) {
                Some(words) => page.insert(slot, words),
                None => page.remove(&slot),
            };
        }
        match after {
            Some((row, _)) => self.staged.rows(number)?.insert(slot, row),
            None => self.staged.rows(number)?.remove(&slot),
        };
        for label in labels_after.difference(&labels_before) {
            self.staged.count_label(*label, 1)?;
        }
        for label in labels_before.difference(&labels_after) {
            self.staged.count_label(*label, -1)?;
        }
        Ok(())
    }
}
