//! The contents of a run of pages: columns of codes, labels, ids and
//! values, and the damage.

use std::ops::Range;

use crate::{
    disk::{fields, page::SLOTS, row::Row, state},
    types::{error::Damage, field::Field, id::ImageId},
};

/// The contents of a run of pages.
#[derive(Default)]
pub(crate) struct Part {
    /// The sequence numbers of the run, used or not.
    pub run: Range<u32>,
    pub sequences: Vec<u32>,
    /// The images that have codes.
    pub coded: Vec<u32>,
    /// For each length, a word for each image in `coded`.
    pub codes: Vec<Vec<u64>>,
    /// The number of images that are marked as uncoded.
    pub uncoded: u64,
    /// Pairs of label and image.
    pub labels: Vec<(u32, u32)>,
    /// For each field, pairs of word and image.
    pub values: Vec<Vec<(u64, u32)>>,
    /// The hash of each image's id.
    pub ids: Vec<u32>,
    pub marks: u64,
    /// The number after the highest block of an original key in a row.
    pub blocks: u64,
    pub damage: Vec<Damage>,
}

/// True if an image without codes counts as damage.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Strict {
    Yes,
    No,
}

impl Part {
    pub fn panicked() -> Self {
        let damage = Damage {
            what: "the store".to_owned(),
            why: "reading it panicked".to_owned(),
        };
        Part {
            damage: vec![damage],
            ..Part::default()
        }
    }

    /// Creates an empty part with capacity for the images of a run.
    pub fn of(run: Range<u32>, lengths: usize, fields: usize) -> Self {
        let images = run.len();
        Part {
            run,
            sequences: Vec::with_capacity(images),
            coded: Vec::with_capacity(images),
            codes: vec![Vec::with_capacity(images); lengths],
            ids: Vec::with_capacity(images),
            values: vec![Vec::new(); fields],
            ..Part::default()
        }
    }

    /// Adds the contents of a page.
    pub fn add_page(
        &mut self,
        number: u32,
        rows: Vec<(u8, Row)>,
        codes: Option<impl Iterator<Item = (u8, impl Iterator<Item = u64>)>>,
        strict: Strict,
        hash: impl Fn(&ImageId) -> u32,
    ) {
        let mut codes = codes.into_iter().flatten().peekable();
        for (slot, row) in rows {
            while let Some((alone, _)) = codes.next_if(|(other, _)| *other < slot) {
                self.report_half(number, alone, "codes and no row");
            }
            let sequence = sequence(number, slot);
            match codes.next_if(|(other, _)| *other == slot) {
                Some((_, words)) => self.add_codes(sequence, words),
                None if strict == Strict::No => {}
                None => {
                    self.report_half(number, slot, "a row and no codes");
                    continue;
                }
            }
            let id = ImageId::from(row.id);
            self.sequences.push(sequence);
            self.labels
                .extend(row.labels.iter().map(|&label| (label, sequence)));
            self.ids.push(hash(&id));
            let after = row.original.map_or(0, |key| key.block() + 1);
            self.blocks = self.blocks.max(after);
            self.marks = self.marks.wrapping_add(state::mark(sequence, &id));
        }
        for (alone, _) in codes {
            self.report_half(number, alone, "codes and no row");
        }
    }

    /// Adds the contents of a values page of the field with this index. `known` counts the images
    /// of the part before those of the page. Words of other images are left out.
    pub fn add_values(
        &mut self,
        at: usize,
        field: &Field,
        number: u32,
        bytes: &[u8],
        known: usize,
    ) {
        let values = &mut self.values[at];
        let before = values.len();
        let mut images = self.sequences[known..].iter().copied().peekable();
        let read = fields::each_word(bytes, |slot, word| {
            let sequence = sequence(number, slot);
            while images.next_if(|&image| image < sequence).is_some() {}
            if images.peek() == Some(&sequence) {
                values.push((word, sequence));
            }
        });
        if let Err(why) = read {
            values.truncate(before);
            self.damage.push(Damage::values(number, &field.path, why));
        }
    }

    fn add_codes(&mut self, sequence: u32, words: impl Iterator<Item = u64>) {
        let mut any = false;
        for (column, word) in self.codes.iter_mut().zip(words) {
            column.push(word);
            any = true;
        }
        if any {
            self.coded.push(sequence);
        } else {
            self.uncoded += 1;
        }
    }

    fn report_half(&mut self, number: u32, slot: u8, has: &str) {
        self.damage.push(Damage {
            what: format!("the image with sequence number {}", sequence(number, slot)),
            why: format!("it has {has}"),
        });
    }
}

fn sequence(page: u32, slot: u8) -> u32 {
    page * SLOTS + u32::from(slot)
}
