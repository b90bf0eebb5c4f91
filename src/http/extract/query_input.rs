//! Extracts the input of a search or an encoding: an image (as the body, in a form or in JSON), the
//! id of a stored image, or a code. Extracts also the filter of a search.

use axum::{
    Json,
    extract::{FromRequest, Request},
};
use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use serde::Deserialize;

use crate::{
    code::HashCode,
    http::{
        error::ApiError,
        extract::{
            Object,
            form::{media_type, read_upload},
            parameters::present_value,
        },
        state::AppState,
    },
    index::{ImageId, Sketch},
};

/// Padding is optional: it carries no information, and many clients omit it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The input of a search or an encoding.
#[derive(Clone)]
pub enum QueryInput {
    /// An image file, not yet checked.
    Image(Bytes),
    /// A stored image.
    Id(ImageId),
    /// A code, with the sketch that was made with it, if there is one.
    Code(HashCode, Option<ModelSketch>),
}

/// The body of a search.
pub struct SearchBody {
    pub input: QueryInput,
    /// The filter, not yet parsed.
    pub filter: Option<String>,
}

/// A sketch from an earlier answer, with the id of the model that made it.
#[derive(Clone)]
pub struct ModelSketch {
    pub sketch: Sketch,
    pub model: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonQueryInput {
    #[serde(default, deserialize_with = "present_value")]
    image: Option<String>,
    #[serde(default, deserialize_with = "present_value")]
    id: Option<String>,
    #[serde(default, deserialize_with = "present_value")]
    code: Option<String>,
    #[serde(default, deserialize_with = "present_value")]
    sketch: Option<String>,
    #[serde(default, deserialize_with = "present_value")]
    model: Option<String>,
    #[serde(default, deserialize_with = "present_value")]
    filter: Option<String>,
}

impl FromRequest<AppState> for SearchBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        read_body(request, state, &["image", "filter"]).await
    }
}

impl FromRequest<AppState> for QueryInput {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        match read_body(request, state, &["image"]).await? {
            SearchBody {
                input,
                filter: None,
            } => Ok(input),
            SearchBody { .. } => {
                let detail = "`filter` is for POST /search; an encoding compares no images";
                Err(ApiError::Invalid("invalid_json", detail.to_owned()))
            }
        }
    }
}

async fn read_body(
    request: Request,
    state: &AppState,
    form_fields: &[&str],
) -> Result<SearchBody, ApiError> {
    if media_type(&request).is_some_and(|found| found.subtype() == mime::JSON) {
        type Body = Json<Object<JsonQueryInput>>;
        let Json(Object(mut json)) = Body::from_request(request, state).await?;
        return Ok(SearchBody {
            filter: json.filter.take(),
            input: parse_json_input(json)?,
        });
    }
    let upload = read_upload(request, state, form_fields).await?;
    Ok(SearchBody {
        input: QueryInput::Image(upload.image),
        filter: upload.filter,
    })
}

fn parse_json_input(json: JsonQueryInput) -> Result<QueryInput, ApiError> {
    match json {
        JsonQueryInput {
            image: Some(image),
            id: None,
            code: None,
            sketch: None,
            model: None,
            filter: None,
        } => {
            let is_data = |scheme: &str| {
                let start = scheme.get(..5);
                start.is_some_and(|start| start.eq_ignore_ascii_case("data:"))
            };
            let text = match image.split_once(',') {
                Some((scheme, text)) if is_data(scheme) => text,
                _ => &image,
            };
            Ok(QueryInput::Image(BASE64.decode(normalize_base64(text))?.into()))
        }
        JsonQueryInput {
            image: None,
            id: Some(id),
            code: None,
            sketch: None,
            model: None,
            filter: None,
        } => Ok(QueryInput::Id(id.parse()?)),
        JsonQueryInput {
            image: None,
            id: None,
            code: Some(code),
            sketch,
            model,
            filter: None,
        } if sketch.is_some() == model.is_some() => {
            let sketch = sketch.zip(model).map(|(sketch, model)| {
                let sketch = Sketch::try_from(sketch)?;
                Ok::<_, ApiError>(ModelSketch { sketch, model })
            });
            Ok(QueryInput::Code(code.parse()?, sketch.transpose()?))
        }
        _ => Err(ApiError::Invalid(
            "invalid_json",
            "give exactly one of `image`, `id` and `code`; with `code`, give both `sketch` and `model` or neither".to_owned(),
        )),
    }
}

/// Removes white space and replaces the URL alphabet by the standard one: encoders differ in both.
fn normalize_base64(text: &str) -> Vec<u8> {
    let bytes = text.bytes().filter(|byte| !byte.is_ascii_whitespace());
    bytes
        .map(|byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            other => other,
        })
        .collect()
}
