//! Values of query parameters: whole numbers, how long a page is, and what counts as given.
//! Knows serde and words for what is wrong; no route.

use serde::{Deserialize, Deserializer, de::Error};

/// How many of a list are asked for: 1 to 1000, and 100 where it is not said.
pub struct PageSize(pub usize);

impl Default for PageSize {
    fn default() -> Self {
        PageSize(100)
    }
}

impl<'de> Deserialize<'de> for PageSize {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        match whole(value)? {
            limit @ 1..=1000 => Ok(PageSize(limit as usize)),
            limit => {
                let detail = format!("limit {limit} is out of range: 1 to 1000");
                Err(Error::custom(detail))
            }
        }
    }
}

/// A whole number of a parameter; serde's own words for what is not one do not say what would be.
pub(crate) fn whole<'de, D: Deserializer<'de>>(value: D) -> Result<u64, D::Error> {
    let text = String::deserialize(value)?;
    let number = text.parse().ok();
    // Rust reads a sign too.
    let number = number.filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    number.ok_or_else(|| {
        let found: String = text.chars().take(40).collect();
        Error::custom(format!("'{found}' is not a whole number from 0 on"))
    })
}

/// A whole number of a parameter that may be left out.
pub(crate) fn whole_given<'de, D: Deserializer<'de>>(value: D) -> Result<Option<u64>, D::Error> {
    whole(value).map(Some)
}

/// A number of a parameter that may be left out.
pub(crate) fn number_given<'de, D: Deserializer<'de>>(value: D) -> Result<Option<f32>, D::Error> {
    let text = String::deserialize(value)?;
    let number = text.parse().ok().filter(|number: &f32| number.is_finite());
    number.map(Some).ok_or_else(|| {
        let found: String = text.chars().take(40).collect();
        Error::custom(format!("'{found}' is not a number"))
    })
}

/// What is there, even if null or empty, has to be right; serde alone takes that for left out.
pub(crate) fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    value: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}
