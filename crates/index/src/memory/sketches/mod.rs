//! Sketches in memory: `array` those of a generation, `rank` the order of candidates, `set` all
//! sketches in one piece, `copies` groups of copies, `tables` the lookup that finds similar
//! sketches.

use crate::types::generation::Generation;

use array::{Array, SketchChange};

pub mod array;
pub mod copies;
pub mod rank;
pub mod set;
pub mod tables;

/// The sketches of a generation.
#[derive(Clone, Debug)]
pub enum Sketches {
    /// The generation has no sketches.
    None,
    /// In memory.
    Memory(Array),
    /// On disk only.
    Disk,
}

impl Sketches {
    /// The sketches of a new generation, empty and stored in the same way as these.
    pub fn none_of(&self, generation: &Generation) -> Self {
        match (generation.sketch, self) {
            (None, _) => Sketches::None,
            (Some(_), Sketches::Disk) => Sketches::Disk,
            (Some(width), _) => Sketches::Memory(Array::new(width)),
        }
    }

    /// Applies changes in order.
    pub fn change(&mut self, changes: &[SketchChange]) {
        if let Sketches::Memory(array) = self {
            *array = array.with(changes);
        }
    }

    /// The memory that they take, in bytes.
    pub fn bytes(&self) -> usize {
        match self {
            Sketches::Memory(array) => array.bytes(),
            Sketches::None | Sketches::Disk => 0,
        }
    }
}
