//! The sketches of some images in memory, one after the other by age.

use crate::types::sketch;

/// The sketches of some images, all of one width, in order of age.
pub struct SketchSet {
    width: usize,
    pub(super) sequences: Vec<u32>,
    values: Vec<i8>,
    pub(super) squares: Vec<u32>,
    /// One by the length of each.
    pub(super) inverses: Vec<f32>,
}

impl SketchSet {
    /// Without any, for sketches of so many bytes.
    pub fn new(width: usize) -> Self {
        SketchSet {
            width,
            sequences: Vec::new(),
            values: Vec::new(),
            squares: Vec::new(),
            inverses: Vec::new(),
        }
    }

    /// Adds the sketch of a younger image than all before: as many bytes as each has. One of zeros is like nothing and left out.
    pub fn push(&mut self, sequence: u32, bytes: impl ExactSizeIterator<Item = i8>) {
        let start = self.values.len();
        self.values.extend(bytes);
        let square = sketch::square(&self.values[start..]);
        if square == 0 || self.values.len() != start + self.width {
            self.values.truncate(start);
            return;
        }
        self.sequences.push(sequence);
        self.squares.push(square);
        self.inverses.push(1.0 / (square as f32).sqrt());
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sequences.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sequences.is_empty()
    }

    /// How many bytes each has.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// The product of the sketch at a place and a vector of its length.
    pub(super) fn dot(&self, place: usize, with: &[i8]) -> i32 {
        sketch::dot(self.of(place), with)
    }

    pub(super) fn of(&self, place: usize) -> &[i8] {
        &self.values[place * self.width..][..self.width]
    }
}
