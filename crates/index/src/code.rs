//! Hash codes: length, bits, hexadecimal form and Hamming distance.

use std::{fmt, str::FromStr};

use bitvec::{array::BitArray, field::BitField, order::Msb0, slice::BitSlice};
use serde::{Deserialize, Serialize, de, ser};

/// A code length in bits: 24, 32 or 48, the lengths of the paper's Table 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Length {
    /// 24 bits, 6 hexadecimal digits.
    L24 = 24,
    /// 32 bits, 8 hexadecimal digits.
    L32 = 32,
    /// 48 bits, 12 hexadecimal digits.
    L48 = 48,
}

impl Length {
    /// Every length, ascending.
    pub const ALL: [Length; 3] = [Length::L24, Length::L32, Length::L48];

    /// The number of bits.
    pub const fn bits(self) -> usize {
        self as usize
    }

    /// The largest distance of two codes of this length.
    pub(crate) const fn max_distance(self) -> u32 {
        self as u32
    }

    /// The number of hexadecimal digits of a code of this length.
    pub const fn digits(self) -> usize {
        self as usize / 4
    }
}

impl TryFrom<u64> for Length {
    type Error = CodeError;

    fn try_from(bits: u64) -> Result<Self, CodeError> {
        Length::ALL
            .into_iter()
            .find(|length| length.bits() as u64 == bits)
            .ok_or(CodeError::Length {
                found: bits.to_string(),
            })
    }
}

impl FromStr for Length {
    type Err = CodeError;

    fn from_str(text: &str) -> Result<Self, CodeError> {
        let bits: u64 = text.parse().map_err(|_| CodeError::Length {
            found: text.to_owned(),
        })?;
        Length::try_from(bits)
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bits().fmt(f)
    }
}

impl Serialize for Length {
    fn serialize<S: ser::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.bits() as u64)
    }
}

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Length::try_from(u64::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// An invalid code or length.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// The length is not one of the three.
    #[error("the code length is {found}; it must be 24, 32 or 48")]
    Length {
        /// The text.
        found: String,
    },
    /// The number of digits is wrong for the requested length, or for every length.
    #[error("code '{found}' has {digits} digits; {expected}")]
    Digits {
        /// The first 16 characters of the text.
        found: String,
        /// The number of characters of the text.
        digits: usize,
        /// What would be right, in words.
        expected: String,
    },
    /// The text is not hexadecimal.
    #[error("code '{found}' is not hexadecimal")]
    Hex {
        /// The text.
        found: String,
    },
}

/// A hash code: 24, 32 or 48 bits, bit 1 of the paper first (the most significant).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct HashCode {
    length: Length,
    bits: BitArray<[u64; 1], Msb0>,
}

impl HashCode {
    /// The code whose bits are the low `length` bits of `word`; higher ones are ignored.
    pub fn from_word(length: Length, word: u64) -> Self {
        let mut bits = BitArray::ZERO;
        bits[..length.bits()].store_be(word << (64 - length.bits()) >> (64 - length.bits()));
        HashCode { length, bits }
    }

    /// The code of an action set (Eq 9): bit i is 1 if `actions[i]` ≥ 0. Actions past the length
    /// are ignored; missing ones count as negative.
    pub fn from_actions(length: Length, actions: &[f32]) -> Self {
        let mut bits = BitArray::ZERO;
        for (mut bit, &action) in bits[..length.bits()].iter_mut().zip(actions) {
            *bit = action >= 0.0;
        }
        HashCode { length, bits }
    }

    /// Parses a code of a known length from hexadecimal digits of either case.
    ///
    /// # Errors
    /// [`CodeError::Digits`] and [`CodeError::Hex`].
    pub fn parse(length: Length, text: &str) -> Result<Self, CodeError> {
        if text.chars().count() != length.digits() {
            return Err(CodeError::Digits {
                found: text.chars().take(16).collect(),
                digits: text.chars().count(),
                expected: format!("a code of {length} bits has {}", length.digits()),
            });
        }
        if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(CodeError::Hex {
                found: text.to_owned(),
            });
        }
        let word = u64::from_str_radix(text, 16).map_err(|_| CodeError::Hex {
            found: text.to_owned(),
        })?;
        Ok(HashCode::from_word(length, word))
    }

    /// The length of the code.
    pub fn length(&self) -> Length {
        self.length
    }

    /// The bits, in order.
    pub fn bits(&self) -> &BitSlice<u64, Msb0> {
        &self.bits[..self.length.bits()]
    }

    /// The bits as the low bits of a word, for inner loops: `(a.word() ^ b.word()).count_ones()` is
    /// the distance.
    pub fn word(&self) -> u64 {
        self.bits().load_be()
    }

    /// The Hamming distance to a code of the same length; `None` if the lengths differ.
    pub fn distance(&self, other: &HashCode) -> Option<u32> {
        (self.length == other.length).then(|| (self.word() ^ other.word()).count_ones())
    }
}

impl FromStr for HashCode {
    type Err = CodeError;

    /// Parses a code. The number of digits determines the length.
    fn from_str(text: &str) -> Result<Self, CodeError> {
        let digits = text.chars().count();
        let length = Length::ALL
            .into_iter()
            .find(|length| length.digits() == digits)
            .ok_or_else(|| CodeError::Digits {
                found: text.chars().take(16).collect(),
                digits,
                expected: "a code has 6, 8 or 12 (24, 32 or 48 bits)".to_owned(),
            })?;
        HashCode::parse(length, text)
    }
}

impl fmt::Display for HashCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0width$x}", self.word(), width = self.length.digits())
    }
}

impl fmt::Debug for HashCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HashCode({}: {self})", self.length)
    }
}

impl Serialize for HashCode {
    fn serialize<S: ser::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HashCode {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_possible_truncation, reason = "small or arbitrary values")]

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bit_one_is_the_most_significant() {
        let mut actions = [-1.0; 24];
        actions[0] = 1.0;
        let code = HashCode::from_actions(Length::L24, &actions);
        assert_eq!(code.to_string(), "800000");
        assert!(code.bits()[0] && code.bits()[1..].not_any());
    }

    #[test]
    fn action_zero_gives_a_set_bit() {
        assert_eq!(
            HashCode::from_actions(Length::L32, &[0.0; 32]).word(),
            0xffff_ffff
        );
    }

    #[test]
    fn an_invalid_code_is_refused_with_a_reason() {
        let error = |text: &str| text.parse::<HashCode>().unwrap_err().to_string();
        assert!(error("abc").contains("6, 8 or 12"));
        assert!(error("zzzzzz").contains("not hexadecimal"));
        assert!(error("+12345").contains("not hexadecimal"));
        assert!(
            "25".parse::<Length>()
                .unwrap_err()
                .to_string()
                .contains("24, 32 or 48")
        );
    }

    proptest! {
        #[test]
        fn word_hex_and_distance_agree(a: u64, b: u64, which in 0usize..3) {
            let length = Length::ALL[which];
            let (x, y) = (HashCode::from_word(length, a), HashCode::from_word(length, b));
            prop_assert_eq!(x.to_string().parse::<HashCode>(), Ok(x));
            prop_assert_eq!(HashCode::from_word(length, x.word()), x);
            let differing = x.bits().iter().zip(y.bits()).filter(|(p, q)| p != q).count();
            prop_assert_eq!(x.distance(&y), Some(differing as u32));
        }
    }
}
