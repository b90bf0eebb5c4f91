//! Describes a generation, and checks that codes, sketches and models fit it.

use serde::{Deserialize, Serialize};

use crate::{
    code::{HashCode, Length},
    types::{
        error::{IndexError, list_lengths},
        sketch::Sketch,
    },
};

/// All codes and sketches that one model made for a gallery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// The number in the keys of its pages. A store never uses a number twice.
    pub number: u32,
    /// The id of the model.
    pub model: String,
    /// The numeric type in which the model computed the codes.
    pub precision: String,
    /// The lengths of the codes, ascending.
    pub lengths: Vec<Length>,
    /// The size of a sketch in bytes; `None` if the model makes no sketches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sketch: Option<usize>,
}

impl Generation {
    /// Creates a generation with number 0; the store assigns the real number.
    ///
    /// # Errors
    /// [`IndexError::Lengths`] if `lengths` is empty, [`IndexError::Sketch`] if the sketch size is
    /// out of range.
    pub fn new(
        model: String,
        precision: String,
        lengths: &[Length],
        sketch: Option<usize>,
    ) -> Result<Self, IndexError> {
        if lengths.is_empty() {
            return Err(IndexError::Lengths {
                given: list_lengths([]),
                expected: format!("at least one of {}", list_lengths(Length::ALL)),
            });
        }
        if let Some(bytes) = sketch.filter(|bytes| !(1..=Sketch::MAX_BYTES).contains(bytes)) {
            return Err(IndexError::Sketch {
                why: format!(
                    "it has {bytes} bytes; a sketch has 1 to {}",
                    Sketch::MAX_BYTES
                ),
            });
        }
        let mut lengths = lengths.to_vec();
        lengths.sort_unstable();
        lengths.dedup();
        Ok(Generation {
            number: 0,
            model,
            precision,
            lengths,
            sketch,
        })
    }

    /// Converts words, one for each length, to codes. Returns no codes if there are no words.
    pub fn codes(&self, words: &[u64]) -> Vec<HashCode> {
        let lengths = self.lengths.iter().zip(words);
        lengths
            .map(|(&length, &word)| HashCode::from_word(length, word))
            .collect()
    }

    /// Checks that there is one code of each length, ascending.
    ///
    /// # Errors
    /// [`IndexError::WrongCodes`].
    pub fn check_lengths(&self, codes: &[HashCode]) -> Result<(), IndexError> {
        let lengths = codes.iter().map(HashCode::length);
        if lengths.clone().eq(self.lengths.iter().copied()) {
            Ok(())
        } else {
            Err(IndexError::WrongCodes {
                expected: list_lengths(self.lengths.iter().copied()),
                found: list_lengths(lengths),
            })
        }
    }

    /// Returns the sketch to store with an image: the given one, or `None` if this generation has
    /// no sketches.
    ///
    /// # Errors
    /// [`IndexError::Sketch`] if the sketch is missing or has another size.
    pub fn checked_sketch<'a>(
        &self,
        given: Option<&'a Sketch>,
    ) -> Result<Option<&'a Sketch>, IndexError> {
        let Some(bytes) = self.sketch else {
            return Ok(None);
        };
        let found = match given {
            Some(sketch) if sketch.values().len() == bytes => return Ok(Some(sketch)),
            Some(sketch) => format!("it has {} bytes", sketch.values().len()),
            None => "it is missing".to_owned(),
        };
        Err(IndexError::Sketch {
            why: format!(
                "{found}; sketches of model {} have {bytes} bytes",
                self.model
            ),
        })
    }

    /// Checks that codes of `wanted` can be compared with those of this generation. Ignores the
    /// numbers.
    ///
    /// # Errors
    /// [`IndexError::Model`], [`IndexError::Lengths`].
    pub fn check(&self, wanted: &Generation) -> Result<(), IndexError> {
        if self.model != wanted.model {
            return Err(IndexError::Model {
                stored: self.model.clone(),
                given: wanted.model.clone(),
            });
        }
        if self.lengths != wanted.lengths {
            return Err(IndexError::Lengths {
                given: list_lengths(wanted.lengths.clone()),
                expected: list_lengths(self.lengths.clone()),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_model_and_lengths_are_compatible() {
        let new = |model: &str, lengths: &[Length]| {
            Generation::new(model.to_owned(), "fp32".to_owned(), lengths, None).unwrap()
        };
        let stored = new("aaaaaaaaaaaa", &[Length::L48, Length::L24, Length::L48]);
        assert!(
            stored
                .check(&new("aaaaaaaaaaaa", &[Length::L24, Length::L48]))
                .is_ok()
        );
        let model = stored
            .check(&new("bbbbbbbbbbbb", &Length::ALL))
            .unwrap_err();
        assert!(
            matches!(model, IndexError::Model { .. }) && model.to_string().contains("aaaaaaaaaaaa")
        );
        let lengths = stored
            .check(&new("aaaaaaaaaaaa", &Length::ALL))
            .unwrap_err();
        assert!(lengths.to_string().contains("24, 48"));
        assert!(
            Generation::new(String::new(), "fp32".to_owned(), &[], None)
                .unwrap_err()
                .to_string()
                .contains("at least one")
        );
    }
}
