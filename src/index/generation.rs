//! The active generation: which model made the codes that are searched, in which numeric type, and of which lengths they are.
//! Knows how it is stored and whether a caller fits it; nothing of the codes themselves.

use serde::{Deserialize, Serialize};

use crate::code::{HashCode, Length};

use super::{
    error::{IndexError, spell},
    key::Key,
};

/// A set of codes made by one model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Under which its pages are.
    pub number: u32,
    /// The checkpoint that made its codes.
    pub model: String,
    /// The numeric type that it computed them in.
    #[serde(default = "fp32")]
    pub precision: String,
    /// The lengths of its codes, ascending.
    pub lengths: Vec<Length>,
}

/// Before the type was written down there was no other by default.
fn fp32() -> String {
    "fp32".to_owned()
}

impl Generation {
    /// The generation of a new store.
    ///
    /// # Errors
    /// [`IndexError::Lengths`] where there are none.
    pub fn first(model: String, precision: String, lengths: &[Length]) -> Result<Self, IndexError> {
        if lengths.is_empty() {
            return Err(IndexError::Lengths {
                given: spell([]),
                expected: format!("at least one of {}", spell(Length::ALL)),
            });
        }
        let mut lengths = lengths.to_vec();
        lengths.sort_unstable();
        lengths.dedup();
        Ok(Generation {
            number: 1,
            model,
            precision,
            lengths,
        })
    }

    /// The active generation of a store.
    ///
    /// # Errors
    /// [`IndexError::Corrupt`] where it is missing or malformed, [`IndexError::Store`].
    pub fn read(tree: &sled::Tree) -> Result<Self, IndexError> {
        let corrupt = |why: String| IndexError::Corrupt {
            what: "the active generation".to_owned(),
            why,
        };
        let value = tree
            .get(Key::Generation.to_bytes())?
            .ok_or_else(|| corrupt("it is missing".to_owned()))?;
        serde_json::from_slice(&value).map_err(|error| corrupt(error.to_string()))
    }

    /// Makes it the active one when the batch is applied.
    pub fn write(&self, batch: &mut sled::Batch) {
        let value = serde_json::json!(self).to_string();
        batch.insert(Key::Generation.to_bytes(), value.as_bytes());
    }

    /// Words, one of each length, as codes.
    pub fn codes(&self, words: &[u64]) -> Vec<HashCode> {
        let lengths = self.lengths.iter().zip(words);
        lengths
            .map(|(&length, &word)| HashCode::from_word(length, word))
            .collect()
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
            Generation::first(model.to_owned(), fp32(), lengths).unwrap()
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
        let old = r#"{"number":1,"model":"aaaaaaaaaaaa","lengths":[24,48]}"#;
        assert_eq!(serde_json::from_str::<Generation>(old).unwrap(), stored);
        assert!(
            Generation::first(String::new(), fp32(), &[])
                .unwrap_err()
                .to_string()
                .contains("at least one")
        );
    }
}
