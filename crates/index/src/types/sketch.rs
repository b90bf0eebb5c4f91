//! Sketches: short int8 vectors that measure how similar two images are.

use std::{fmt, sync::Arc};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use multiversion::multiversion;
use serde::{Deserialize, Serialize};

use crate::types::error::IndexError;

/// A vector of 1 to [`MAX_BYTES`](Self::MAX_BYTES) integers from −128 to 127. The similarity of two
/// sketches of one model is the cosine of the angle between them. The text form is the bytes in
/// base64url without padding.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Sketch {
    /// Shared by the answer to a write, the sketch page and the array in memory.
    pub(crate) values: Arc<[i8]>,
    /// The squared Euclidean norm.
    pub(crate) square: u32,
}

impl Sketch {
    /// The maximum size in bytes.
    pub const MAX_BYTES: usize = 1024;

    /// Quantises a vector: the largest entry becomes ±127 and the others are rounded in proportion.
    /// A vector of zeros, or one with an entry that is not finite, becomes all zeros; its
    /// similarity to any sketch is 0.
    ///
    /// # Errors
    /// [`IndexError::Sketch`] if the vector is empty or has more than
    /// [`MAX_BYTES`](Self::MAX_BYTES) entries.
    pub fn of(vector: &[f32]) -> Result<Self, IndexError> {
        let largest = vector
            .iter()
            .fold(0f32, |most, value| most.max(value.abs()));
        let finite = vector.iter().all(|value| value.is_finite());
        let scale = if largest > 0.0 && finite {
            127.0 / largest
        } else {
            0.0
        };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "`as` caps values past the range, and converts NaN to 0"
        )]
        let values = vector.iter().map(|value| (value * scale).round() as i8);
        Sketch::from_values(values.collect())
    }

    /// Creates a sketch of these entries.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn from_values(values: Vec<i8>) -> Result<Self, IndexError> {
        if (1..=Self::MAX_BYTES).contains(&values.len()) {
            Ok(Sketch::new(values.into()))
        } else {
            Err(IndexError::Sketch {
                why: format!(
                    "it has {} bytes; a sketch has 1 to {}",
                    values.len(),
                    Self::MAX_BYTES
                ),
            })
        }
    }

    /// Creates a sketch without checking its size.
    pub(crate) fn new(values: Arc<[i8]>) -> Self {
        Sketch {
            square: square(&values),
            values,
        }
    }

    /// The entries.
    pub fn values(&self) -> &[i8] {
        &self.values
    }

    /// The cosine of the angle between two sketches of one size, −1 to 1; 0 if either is all zeros.
    pub fn similarity(&self, other: &Sketch) -> f32 {
        let dot = dot(&self.values, &other.values);
        cosine(dot, self.square, other.square)
    }
}

impl From<Sketch> for String {
    fn from(sketch: Sketch) -> Self {
        let bytes = sketch.values.iter().map(|value| value.cast_unsigned());
        BASE64_URL_SAFE_NO_PAD.encode(bytes.collect::<Vec<u8>>())
    }
}

impl TryFrom<String> for Sketch {
    type Error = IndexError;

    fn try_from(text: String) -> Result<Self, IndexError> {
        let wrong = |why: String| IndexError::Sketch { why };
        // Four characters encode three bytes.
        if text.len() > Self::MAX_BYTES.div_ceil(3) * 4 {
            return Err(wrong(format!(
                "it has {} characters, more than the text of {} bytes has",
                text.len(),
                Self::MAX_BYTES
            )));
        }
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(&text);
        let bytes = bytes.map_err(|error| wrong(format!("it is not base64url: {error}")))?;
        Sketch::from_values(bytes.into_iter().map(u8::cast_signed).collect())
    }
}

impl fmt::Debug for Sketch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sketch({})", String::from(self.clone()))
    }
}

/// The dot product of two vectors of one length. Its magnitude is at most 1,024 · 2¹⁴ = 2²⁴, so it
/// is exact.
#[multiversion(targets("x86_64+avx2"))]
pub fn dot(a: &[i8], b: &[i8]) -> i32 {
    product(a, b)
}

/// The same, inlined so that it is compiled for the caller's target features.
#[inline(always)]
pub fn product(a: &[i8], b: &[i8]) -> i32 {
    let products = a.iter().zip(b).map(|(&a, &b)| i32::from(a) * i32::from(b));
    products.sum()
}

/// The squared Euclidean norm of a vector.
pub fn square(a: &[i8]) -> u32 {
    dot(a, a).unsigned_abs()
}

/// The cosine, from a dot product and two squared norms. The inputs are integers, so the result is
/// the same on every machine.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a cosine is rounded to 24 bits"
)]
pub fn cosine(dot: i32, one: u32, other: u32) -> f32 {
    match u64::from(one) * u64::from(other) {
        0 => 0.0,
        squares => (f64::from(dot) / (squares as f64).sqrt()).clamp(-1.0, 1.0) as f32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_reads_back(values in prop::collection::vec(any::<i8>(), 1..=Sketch::MAX_BYTES)) {
            let sketch = Sketch::from_values(values).unwrap();
            let text = String::from(sketch.clone());
            prop_assert_eq!(Sketch::try_from(text).unwrap(), sketch);
        }

        #[test]
        fn similarity_is_the_cosine(
            pairs in prop::collection::vec((any::<i8>(), any::<i8>()), 1..300),
        ) {
            let (a, b): (Vec<i8>, Vec<i8>) = pairs.into_iter().unzip();
            let sum = |a: &[i8], b: &[i8]| -> f64 {
                a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
            };
            let squares = sum(&a, &a) * sum(&b, &b);
            let expected = if squares == 0.0 { 0.0 } else { sum(&a, &b) / squares.sqrt() };
            let (a, b) = (Sketch::from_values(a).unwrap(), Sketch::from_values(b).unwrap());
            prop_assert!((f64::from(a.similarity(&b)) - expected).abs() < 1e-6);
            prop_assert_eq!(a.similarity(&b), b.similarity(&a));
        }
    }

    #[test]
    fn a_vector_is_scaled_so_that_its_largest_entry_is_127() {
        let of = |vector: &[f32]| Sketch::of(vector).unwrap().values().to_vec();
        assert_eq!(of(&[0.5, -1.0, 0.0]), [64, -127, 0]);
        assert_eq!(of(&[1e-30, -2e-30]), [64, -127]);
        assert_eq!(of(&[0.0, 0.0]), [0, 0]);
        assert_eq!(of(&[1.0, f32::NAN]), [0, 0]);
        assert_eq!(of(&[1.0, f32::INFINITY]), [0, 0]);
        assert!(Sketch::of(&[]).is_err());
    }

    #[test]
    fn text_that_is_not_a_sketch_is_refused_with_a_reason() {
        let error = |text: &str| Sketch::try_from(text.to_owned()).unwrap_err().to_string();
        assert!(error("").contains("0 bytes"));
        assert!(error("ab=").contains("base64url"));
        assert!(error(&"A".repeat(5000)).contains("5000 characters"));
        assert!(error(&"A".repeat(1368)).contains("1026 bytes"));
    }
}
