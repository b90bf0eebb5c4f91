//! The query parameters of `/search` and `/encode`, and their checks.

use serde::{Deserialize, Deserializer, Serialize, de::Error};

use crate::{
    code::{HashCode, Length},
    http::{
        error::ApiError,
        extract::{
            parameters::{optional_number, optional_whole_number, present_value, whole_number},
            query_input::QueryInput,
        },
    },
    image::{ImageError, Part},
    index::{Order, Sketch},
};

/// Maximum number of matches in one answer.
const MAX_LIMIT: u64 = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SearchParams {
    #[serde(default, deserialize_with = "optional_length")]
    pub bits: Option<Length>,
    #[serde(default, rename = "box", deserialize_with = "present_value")]
    pub part: Option<String>,
    #[serde(default, deserialize_with = "optional_whole_number")]
    pub radius: Option<u64>,
    #[serde(default, deserialize_with = "present_value")]
    pub order: Option<OrderParam>,
    #[serde(default, deserialize_with = "optional_whole_number")]
    pub candidates: Option<u64>,
    #[serde(default, deserialize_with = "optional_number")]
    pub min_similarity: Option<f32>,
    #[serde(default = "default_limit", deserialize_with = "whole_number")]
    pub limit: u64,
    #[serde(default, deserialize_with = "whole_number")]
    pub offset: u64,
    #[serde(default)]
    pub label: Vec<String>,
    #[serde(default, deserialize_with = "present_value")]
    pub filter: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EncodeParams {
    #[serde(default, rename = "box", deserialize_with = "present_value")]
    pub part: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OrderParam {
    Similarity,
    Distance,
}

fn optional_length<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Length>, D::Error> {
    let length = Length::try_from(whole_number(value)?);
    length.map(Some).map_err(D::Error::custom)
}

fn default_limit() -> u64 {
    10
}

impl SearchParams {
    /// Makes the checks that need no code.
    pub fn check(&self, lengths: &[Length]) -> Result<(), ApiError> {
        let limit = self.limit;
        if !(1..=MAX_LIMIT).contains(&limit) {
            let detail = format!("limit {limit} is out of range: 1 to {MAX_LIMIT}");
            return Err(ApiError::Invalid("invalid_parameter", detail));
        }
        let most = Order::MAX_CANDIDATES as u64;
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

    /// Returns the order of the matches: by similarity if there is a sketch, unless distance is
    /// requested.
    pub fn order(&self, sketch: Option<&Sketch>) -> Result<OrderParam, ApiError> {
        let by_similarity = ["order=similarity", "candidates", "min_similarity"];
        let asked = [
            self.order == Some(OrderParam::Similarity),
            self.candidates.is_some(),
            self.min_similarity.is_some(),
        ];
        let asked = by_similarity
            .into_iter()
            .zip(asked)
            .find(|(_, asked)| *asked);
        match (sketch, self.order, asked) {
            (Some(_), None | Some(OrderParam::Similarity), _) => Ok(OrderParam::Similarity),
            (_, _, None) => Ok(OrderParam::Distance),
            (Some(_), Some(OrderParam::Distance), Some((what, _))) => Err(ApiError::Invalid(
                "invalid_parameter",
                format!("{what} needs order=similarity, but the request has order=distance"),
            )),
            (None, _, Some((what, _))) => Err(ApiError::Invalid(
                "no_sketch",
                format!(
                    "{what} needs a sketch: the active model makes none, the image has none, or `code` came without `sketch` and `model`"
                ),
            )),
        }
    }

    /// Returns the code to search by: of the length `bits`, or else the longest.
    pub fn choose_code(&self, codes: &[HashCode]) -> Result<HashCode, ApiError> {
        let wanted = match self.bits {
            Some(bits) => codes.iter().find(|code| code.length() == bits),
            None => codes.iter().max_by_key(|code| code.length()),
        };
        wanted.copied().ok_or_else(|| {
            let found = codes.first().map_or(0, |code| code.length().bits());
            let detail = format!(
                "the code has {found} bits; it must have as many as the parameter bits says"
            );
            ApiError::Invalid("invalid_code", detail)
        })
    }
}

/// Returns the part of the request's picture that `box` selects; none for the whole picture.
pub(crate) fn part(text: Option<&str>, input: &QueryInput) -> Result<Option<Part>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    let other = match input {
        QueryInput::Image(_) => return Ok(Some(text.parse().map_err(ImageError::Part)?)),
        QueryInput::Id(_) => "`id` names a stored image, which has codes only of the whole picture",
        QueryInput::Code(..) => "a code has no picture",
    };
    let detail = format!("box needs a picture in the request: {other}; send the picture itself");
    Err(ApiError::Invalid("invalid_box", detail))
}

/// Refuses a length of which the model makes no codes.
pub(crate) fn check_length(bits: Length, lengths: &[Length]) -> Result<(), ApiError> {
    if lengths.contains(&bits) {
        return Ok(());
    }
    let made = lengths.iter().map(Length::to_string).collect::<Vec<_>>();
    let detail = format!(
        "the model makes no codes of {bits} bits, only of {}",
        made.join(", ")
    );
    Err(ApiError::Invalid("invalid_parameter", detail))
}
