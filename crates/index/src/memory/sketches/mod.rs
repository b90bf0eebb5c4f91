//! Sketches in memory: `array` those of a generation, `rank` the order of candidates, `set` all of them in one piece,
//! `copies` groups of copies among these, `tables` the lookup that finds them.

use crate::types::generation::Generation;

use array::{Array, SketchChange};

pub mod array;
pub mod copies;
pub mod rank;
pub mod set;
pub mod tables;

/// The sketches of a generation, as readers find them.
#[derive(Clone, Debug)]
pub enum Sketches {
    /// It has none.
    None,
    /// In memory.
    Memory(Array),
    /// On disk.
    Disk,
}

impl Sketches {
    /// Those of a generation that has none yet, in the place where these are.
    pub fn none_of(&self, generation: &Generation) -> Self {
        match (generation.sketch, self) {
            (None, _) => Sketches::None,
            (Some(_), Sketches::Disk) => Sketches::Disk,
            (Some(width), _) => Sketches::Memory(Array::new(width)),
        }
    }

    /// Has some change, in their order.
    pub fn change(&mut self, changes: &[SketchChange]) {
        if let Sketches::Memory(array) = self {
            *array = array.with(changes);
        }
    }

    /// Bytes of memory that they take.
    pub fn bytes(&self) -> usize {
        match self {
            Sketches::Memory(array) => array.bytes(),
            Sketches::None | Sketches::Disk => 0,
        }
    }
}
