//! Changes of generations as writes: one is begun beside the active one, images get codes in it, it takes the active one's place, it goes.
//! Knows when each may be; neither what makes the codes nor who decides.

use crate::{
    disk::{generations::Generations, key},
    types::{error::IndexError, generation::Generation, write::Recoded},
    write::{
        group::Group,
        staged::{Found, GenerationChange},
    },
};

impl Group<'_> {
    /// The generations as the writes staged so far leave them.
    fn generations(&self) -> Result<Generations, IndexError> {
        match &self.generation_change {
            Some(generation_change) => Ok(generation_change.generations.clone()),
            None => Generations::read(&self.db),
        }
    }

    /// A generation of another model beside the active one, in the place of whichever is there; its number. The one there stays if it
    /// is what is wanted.
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
        self.generation_change = Some(GenerationChange { generations });
        Ok(number)
    }

    /// Codes of images in the generation beside, where they still lack them and have the original that the codes are of; how many
    /// images got theirs.
    pub fn recode(&mut self, number: u32, images: Vec<Recoded>) -> Result<usize, IndexError> {
        let side = self.standby(number)?;
        let view = self.staged.view.clone();
        let Some(of) = view.sides().nth(side) else {
            return Ok(0);
        };
        // All is checked and found before any is staged.
        let mut changes = Vec::new();
        for image in images {
            if !image.codes.is_empty() {
                of.generation.check_lengths(&image.codes)?;
                of.generation.fitting(image.sketch.as_ref())?;
            }
            let before = self.staged.find(&image.id)?;
            let lacks_codes = |before: &Found| {
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
            words[side] = Some(codes.iter().map(|code| code.word()).collect());
            let row = before.row.clone();
            self.change(sequence, &id, Some(before), Some((row, words)))?;
            self.sketch(side, sequence, sketch)?;
        }
        Ok(count)
    }

    /// Whether a number is that of the generation beside.
    fn standby(&self, number: u32) -> Result<usize, IndexError> {
        let view = &self.staged.view;
        let is = view
            .standby
            .as_ref()
            .is_some_and(|side| side.generation.number == number);
        match is && self.generation_change.is_none() {
            true => Ok(1),
            false => Err(IndexError::Generation {
                given: number,
                active: view.active.generation.number,
            }),
        }
    }

    /// Has the generation beside take the active one's place, which then stands beside it.
    pub fn activate(&mut self, number: u32) -> Result<(), IndexError> {
        let side = self.standby(number)?;
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
        self.generation_change = Some(GenerationChange { generations });
        Ok(())
    }

    /// Has the generation beside go. Its pages are [purged](Self::purge).
    pub fn discard(&mut self) -> Result<(), IndexError> {
        let mut generations = self.generations()?;
        if generations.standby.take().is_some() {
            self.generation_change = Some(GenerationChange { generations });
        }
        Ok(())
    }

    /// Removes at most so many pages of generations that are no more, and tells whether there may be others.
    pub fn purge(&mut self, most: usize) -> Result<bool, IndexError> {
        let generations = self.generations()?;
        let kept: Vec<u32> = generations.iter().map(|one| one.number).collect();
        let gone = (0..=generations.last).filter(|number| !kept.contains(number));
        let ranges =
            gone.flat_map(|number| [key::codes, key::sketches].map(|of| of(number, 0..u32::MAX)));
        let keys = ranges.flat_map(|range| self.db.range(range).keys());
        let keys = keys.take(most).collect::<Result<Vec<_>, _>>()?;
        let more = keys.len() == most;
        self.purged += keys.len();
        keys.into_iter()
            .for_each(|key| self.staged.batch.remove(key));
        Ok(more)
    }
}
