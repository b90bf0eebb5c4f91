//! Stages changes of generations: begins, fills, activates and discards the standby one.

use crate::{
    disk::{generations::Generations, key},
    types::{error::IndexError, generation::Generation, write::Recoded},
    write::{
        group::Group,
        layout::LayoutChange,
        staged::{NewState, StoredImage},
    },
};

impl Group<'_> {
    /// The generations after the staged writes.
    fn generations(&self) -> Result<Generations, IndexError> {
        match &self.layout_change {
            Some(LayoutChange::Generations(generations)) => Ok(generations.clone()),
            _ => Generations::read(&self.db),
        }
    }

    /// Begins a standby generation, replacing any other one, and returns its number. Continues the
    /// existing one if it is equal to `wanted`.
    pub fn begin(&mut self, mut wanted: Generation) -> Result<u32, IndexError> {
        let mut generations = self.generations()?;
        if let Some(standby) = &generations.standby {
            wanted.number = standby.number;
            if *standby == wanted {
                return Ok(wanted.number);
            }
        }
        generations.last += 1;
        let number = generations.last;
        wanted.number = number;
        generations.standby = Some(wanted);
        self.layout_change = Some(LayoutChange::Generations(generations));
        Ok(number)
    }

    /// Stores the codes of images in the standby generation. Skips images that already have codes
    /// or whose original has changed. Returns the number of images that got codes.
    pub fn recode(&mut self, number: u32, images: Vec<Recoded>) -> Result<usize, IndexError> {
        let side = self.standby_side(number)?;
        let view = self.staged.view.clone();
        let Some(of) = view.sides().nth(side) else {
            return Ok(0);
        };
        // Everything is checked and looked up before anything is staged.
        let mut changes = Vec::new();
        for image in images {
            if !image.codes.is_empty() {
                of.generation.check_lengths(&image.codes)?;
                of.generation.checked_sketch(image.sketch.as_ref())?;
            }
            let before = self.staged.find(&image.id)?;
            let lacks_codes = |before: &StoredImage| {
                before.row.original == image.original && before.words[side].is_none()
            };
            if let Some(before) = before.filter(lacks_codes) {
                changes.push((before, image));
            }
        }
        let count = changes.len();
        for (before, image) in changes {
            let Recoded {
                id, codes, sketch, ..
            } = image;
            let sketch = sketch.filter(|_| !codes.is_empty());
            let (mut words, sequence) = (before.words.clone(), before.sequence);
            words[side] = Some(
                codes
                    .iter()
                    .map(super::super::code::HashCode::word)
                    .collect(),
            );
            let after = NewState {
                row: before.row.clone(),
                words,
                values: before.values.clone(),
            };
            self.stage_row(sequence, &id, Some(before), Some(after))?;
            self.stage_sketch(side, sequence, sketch)?;
        }
        Ok(count)
    }

    /// Checks that a number is that of the standby generation, and returns its index among the
    /// sides.
    fn standby_side(&self, number: u32) -> Result<usize, IndexError> {
        let view = &self.staged.view;
        let is_standby = view
            .standby
            .as_ref()
            .is_some_and(|side| side.generation.number == number);
        if is_standby && self.layout_change.is_none() {
            Ok(1)
        } else {
            Err(IndexError::Generation {
                given: number,
                active: view.active.generation.number,
            })
        }
    }

    /// Makes the standby generation active; the previous one becomes standby.
    pub fn activate(&mut self, number: u32) -> Result<(), IndexError> {
        let side = self.standby_side(number)?;
        let counts = self.sides[side].counts;
        let missing = self
            .state
            .images
            .saturating_sub(counts.coded + counts.uncoded);
        if missing > 0 {
            return Err(IndexError::Unfinished { number, missing });
        }
        let mut generations = self.generations()?;
        if let Some(standby) = &mut generations.standby {
            std::mem::swap(&mut generations.active, standby);
        }
        self.layout_change = Some(LayoutChange::Generations(generations));
        Ok(())
    }

    /// Discards the standby generation. [`purge`](Self::purge) removes its pages.
    pub fn discard(&mut self) -> Result<(), IndexError> {
        let mut generations = self.generations()?;
        if generations.standby.take().is_some() {
            self.layout_change = Some(LayoutChange::Generations(generations));
        }
        Ok(())
    }

    /// Removes at most `limit` pages of discarded generations and deleted fields. Returns true if
    /// there may be more.
    pub fn purge(&mut self, limit: usize) -> Result<bool, IndexError> {
        let generations = self.generations()?;
        let kept: Vec<u32> = generations.iter().map(|one| one.number).collect();
        let gone = (0..=generations.last).filter(|number| !kept.contains(number));
        let ranges =
            gone.flat_map(|number| [key::codes, key::sketches].map(|of| of(number, 0..u32::MAX)));
        let fields = self.fields()?;
        let gone = (1..=fields.last).filter(|number| !fields.has(*number));
        let ranges = ranges.chain(gone.map(|number| key::values(number, 0..u32::MAX)));
        let keys = ranges.flat_map(|range| self.db.range(range).keys());
        let keys = keys.take(limit).collect::<Result<Vec<_>, _>>()?;
        let more = keys.len() == limit;
        self.purged += keys.len();
        keys.into_iter()
            .for_each(|key| self.staged.batch.remove(key));
        Ok(more)
    }
}
