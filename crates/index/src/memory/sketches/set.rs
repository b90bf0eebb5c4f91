//! Sketches of one size in memory, contiguous and in order of age.

use crate::types::sketch;

/// Sketches of one size, in order of age.
pub struct SketchSet {
    width: usize,
    pub(super) sequences: Vec<u32>,
    values: Vec<i8>,
    pub(super) squares: Vec<u32>,
    /// The inverse norm of each.
    pub(super) inverses: Vec<f32>,
}

impl SketchSet {
    /// Creates an empty set for sketches of `width` bytes.
    pub fn new(width: usize) -> Self {
        SketchSet {
            width,
            sequences: Vec::new(),
            values: Vec::new(),
            squares: Vec::new(),
            inverses: Vec::new(),
        }
    }

    /// Adds the sketch of the next younger image. A sketch of all zeros, which is similar to
    /// nothing, is left out.
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

    /// The number of sketches.
    pub fn len(&self) -> usize {
        self.sequences.len()
    }

    /// Returns true if there are none.
    pub fn is_empty(&self) -> bool {
        self.sequences.is_empty()
    }

    /// The size of a sketch in bytes.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// The dot product of the sketch at an index and a vector.
    pub(super) fn dot(&self, place: usize, with: &[i8]) -> i32 {
        sketch::dot(self.of(place), with)
    }

    pub(super) fn of(&self, place: usize) -> &[i8] {
        &self.values[place * self.width..][..self.width]
    }
}
