//! The parameters of `/search` and `/encode`, and what can be wrong with them.
//! Knows their ranges and what they are for; asks nobody.

use serde::{Deserialize, Deserializer, Serialize, de::Error};

use crate::{
    code::{HashCode, Length},
    gallery::check_each_label,
    http::{
        error::ApiError,
        extract::{
            Subject,
            parameter::{given, number_given, whole, whole_given},
        },
    },
    image::{ImageError, Part},
    index::{Order, Sketch},
};

/// The most matches in one answer.
const MAX_LIMIT: u64 = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SearchParams {
    #[serde(default, deserialize_with = "bits_given")]
    pub bits: Option<Length>,
    #[serde(default, rename = "box", deserialize_with = "given")]
    pub part: Option<String>,
    #[serde(default, deserialize_with = "whole_given")]
    pub radius: Option<u64>,
    #[serde(default, deserialize_with = "given")]
    pub order: Option<Ordered>,
    #[serde(default, deserialize_with = "whole_given")]
    pub candidates: Option<u64>,
    #[serde(default, deserialize_with = "number_given")]
    pub min_similarity: Option<f32>,
    #[serde(default = "default_limit", deserialize_with = "whole")]
    pub limit: u64,
    #[serde(default, deserialize_with = "whole")]
    pub offset: u64,
    #[serde(default)]
    pub label: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EncodeParams {
    #[serde(default, rename = "box", deserialize_with = "given")]
    pub part: Option<String>,
}

/// By what matches are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Ordered {
    Similarity,
    Distance,
}

fn bits_given<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Length>, D::Error> {
    let length = Length::try_from(whole(value)?);
    length.map(Some).map_err(D::Error::custom)
}

fn default_limit() -> u64 {
    10
}

impl SearchParams {
    /// What can be told before anything is decoded.
    pub fn check(&self, lengths: &[Length]) -> Result<(), ApiError> {
        let limit = self.limit;
        if !(1..=MAX_LIMIT).contains(&limit) {
            let detail = format!("limit {limit} is out of range: 1 to {MAX_LIMIT}");
            return Err(ApiError::Invalid("invalid_parameter", detail));
        }
        check_each_label(&self.label)?;
        let most = Order::MOST as u64;
        if let Some(candidates) = self.candidates.filter(|count| !(1..=most).contains(count)) {
            let detail = format!("candidates {candidates} is out of range: 1 to {most}");
            return Err(ApiError::Invalid("invalid_parameter", detail));
        }
        if let Some(least) = self
            .min_similarity
            .filter(|least| !(-1.0..=1.0).contains(least))
        {
            let detail = format!("min_similarity {least} is out of range: -1 to 1");
            return Err(ApiError::Invalid("invalid_parameter", detail));
        }
        self.bits.map_or(Ok(()), |bits| check_length(bits, lengths))
    }

    /// The order of the matches: by similarity where there is a sketch to compare with, unless it is to be by distance.
    pub fn order(&self, sketch: Option<&Sketch>) -> Result<Ordered, ApiError> {
        let by_similarity = ["order=similarity", "candidates", "min_similarity"];
        let asked = [
            self.order == Some(Ordered::Similarity),
            self.candidates.is_some(),
            self.min_similarity.is_some(),
        ];
        let asked = by_similarity
            .into_iter()
            .zip(asked)
            .find(|(_, asked)| *asked);
        match (sketch, self.order, asked) {
            (Some(_), None | Some(Ordered::Similarity), _) => Ok(Ordered::Similarity),
            (_, _, None) => Ok(Ordered::Distance),
            (Some(_), Some(Ordered::Distance), Some((what, _))) => Err(ApiError::Invalid(
                "invalid_parameter",
                format!("{what} is for order=similarity, and the order asked for is by distance"),
            )),
            (None, _, Some((what, _))) => Err(ApiError::Invalid(
                "no_sketch",
                format!(
                    "{what} needs a sketch: the active model makes none, the image has none, or `sketch` and `model` are missing beside `code`"
                ),
            )),
        }
    }

    /// The code to search by: of `bits`, or else 48, or else the longest there is.
    pub fn pick(&self, codes: &[HashCode]) -> Result<HashCode, ApiError> {
        let wanted = match self.bits {
            Some(bits) => codes.iter().find(|code| code.length() == bits),
            None => codes.iter().max_by_key(|code| code.length()),
        };
        wanted.copied().ok_or_else(|| {
            let found = codes.first().map_or(0, |code| code.length().bits());
            let detail =
                format!("the code given has {found} bits, not those of the parameter bits");
            ApiError::Invalid("invalid_code", detail)
        })
    }
}

/// The part that a `box` names of the picture in a request; none where all of it is meant.
pub(crate) fn part(text: Option<&str>, subject: &Subject) -> Result<Option<Part>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    let other = match subject {
        Subject::Image(_) => return Ok(Some(text.parse().map_err(ImageError::Part)?)),
        Subject::Id(_) => "`id` names a stored image, whose codes are those of the whole picture",
        Subject::Code(..) => "a code has no picture",
    };
    let detail = format!("box is for a picture in the request: {other}; send the picture itself");
    Err(ApiError::Invalid("invalid_box", detail))
}

/// Refuses a length that a model makes no codes of.
pub(crate) fn check_length(bits: Length, lengths: &[Length]) -> Result<(), ApiError> {
    if lengths.contains(&bits) {
        return Ok(());
    }
    let there = lengths.iter().map(Length::to_string).collect::<Vec<_>>();
    let detail = format!(
        "the model makes no codes of {bits} bits, only of {}",
        there.join(", ")
    );
    Err(ApiError::Invalid("invalid_parameter", detail))
}
