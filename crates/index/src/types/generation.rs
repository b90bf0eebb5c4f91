//! Generations: sets of codes that one model each made, of which one is searched and another may stand beside it.
//! Knows how they are stored and whether a caller fits them; nothing of the codes themselves.

use serde::{Deserialize, Serialize};

use crate::{
    code::{HashCode, Length},
    types::{
        error::{IndexError, spell},
        sketch::Sketch,
    },
};

/// A set of codes made by one model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Under which its pages are. No other generation of the store ever has it.
    pub number: u32,
    /// The checkpoint that made its codes.
    pub model: String,
    /// The numeric type that it computed them in.
    pub precision: String,
    /// The lengths of its codes, ascending.
    pub lengths: Vec<Length>,
    /// How many bytes the sketch has that each image with codes has beside them; none where there are no sketches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sketch: Option<usize>,
}

impl Generation {
    /// A generation that has no number yet.
    ///
    /// # Errors
    /// [`IndexError::Lengths`] where there are none, [`IndexError::Sketch`] where no sketch has that many bytes.
    pub fn new(
        model: String,
        precision: String,
        lengths: &[Length],
        sketch: Option<usize>,
    ) -> Result<Self, IndexError> {
        if lengths.is_empty() {
            return Err(IndexError::Lengths {
                given: spell([]),
                expected: format!("at least one of {}", spell(Length::ALL)),
            });
        }
        if let Some(bytes) = sketch.filter(|bytes| !(1..=Sketch::MOST).contains(bytes)) {
            return Err(IndexError::Sketch {
                why: format!("it has {bytes} bytes; a sketch has 1 to {}", Sketch::MOST),
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

    /// Words, one of each length, as codes; none where the image has none.
    pub fn codes(&self, words: &[u64]) -> Vec<HashCode> {
        let lengths = self.lengths.iter().zip(words);
        lengths
            .map(|(&length, &word)| HashCode::from_word(length, word))
            .collect()
    }

    /// Refuses codes that are not one of each length, ascending.
    ///
    /// # Errors
    /// [`IndexError::WrongCodes`].
    pub fn check_lengths(&self, codes: &[HashCode]) -> Result<(), IndexError> {
        let lengths = codes.iter().map(HashCode::length);
        match lengths.clone().eq(self.lengths.iter().copied()) {
            true => Ok(()),
            false => Err(IndexError::WrongCodes {
                expected: spell(self.lengths.iter().copied()),
                found: spell(lengths),
            }),
        }
    }

    /// The sketch that an image with codes of this generation is stored with: the one given, or none where the generation has none.
    ///
    /// # Errors
    /// [`IndexError::Sketch`] where it lacks, or has another length.
    pub fn fitting<'a>(&self, given: Option<&'a Sketch>) -> Result<Option<&'a Sketch>, IndexError> {
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

    /// Whether codes of a wanted generation, whatever its number, may be compared with those of this one.
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
                given: spell(wanted.lengths.clone()),
                expected: spell(self.lengths.clone()),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_model_and_lengths_fit() {
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
