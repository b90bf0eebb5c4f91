//! Deserializers for single parameters and JSON members, with errors that say what would be right.

use serde::{Deserialize, Deserializer, de::Error};

/// The number of items on a page of a list: 1 to 1000, by default 100.
pub struct PageSize(pub usize);

impl Default for PageSize {
    fn default() -> Self {
        PageSize(100)
    }
}

impl<'de> Deserialize<'de> for PageSize {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        let limit = whole_number(value)?;
        match usize::try_from(limit) {
            Ok(items @ 1..=1000) => Ok(PageSize(items)),
            _ => {
                let detail = format!("limit {limit} is out of range: 1 to 1000");
                Err(Error::custom(detail))
            }
        }
    }
}

/// Parses a whole number.
pub(crate) fn whole_number<'de, D: Deserializer<'de>>(value: D) -> Result<u64, D::Error> {
    let text = String::deserialize(value)?;
    let number = text.parse().ok();
    // `parse` also accepts a sign.
    let number = number.filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    number.ok_or_else(|| {
        let found: String = text.chars().take(40).collect();
        Error::custom(format!(
            "'{found}' is not a whole number; it must be 0 or more"
        ))
    })
}

/// Parses a whole number of an optional parameter.
pub(crate) fn optional_whole_number<'de, D: Deserializer<'de>>(
    value: D,
) -> Result<Option<u64>, D::Error> {
    whole_number(value).map(Some)
}

/// Parses a finite number of an optional parameter.
pub(crate) fn optional_number<'de, D: Deserializer<'de>>(
    value: D,
) -> Result<Option<f32>, D::Error> {
    let text = String::deserialize(value)?;
    let number = text.parse().ok().filter(|number: &f32| number.is_finite());
    number.map(Some).ok_or_else(|| {
        let found: String = text.chars().take(40).collect();
        Error::custom(format!("'{found}' is not a number"))
    })
}

/// Deserializes a value that is present, so that null is an error. Serde alone treats null as
/// missing.
pub(crate) fn present_value<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    value: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}
