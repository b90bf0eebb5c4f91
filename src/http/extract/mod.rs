//! Extracts bodies and parameters from requests: images as bytes, JSON or forms, ids, and the
//! query. `parameters` parses single values.

pub mod parameters;

use std::{collections::HashSet, fmt, marker::PhantomData};

use axum::{
    Json,
    extract::{FromRequest, FromRequestParts, Multipart, Path, Request, multipart::Field},
    http::{header::CONTENT_TYPE, request},
};
use axum_extra::extract::Query;
use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use percent_encoding::percent_decode;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::Value;
use tokio::time::timeout;
use url::form_urlencoded;

use crate::{
    code::HashCode,
    gallery::check_integers,
    http::{body::budget::BodyMeter, error::ApiError, state::AppState},
    index::{ImageId, Sketch},
};

use parameters::present_value;

/// The most bytes of a field that is not an image, and of a payload's JSON. Parsed JSON takes up to
/// sixteen times as much memory.
const MAX_TEXT_BYTES: usize = 64 << 10;

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

/// A sketch from an earlier answer, with the id of the model that made it.
#[derive(Clone)]
pub struct ModelSketch {
    pub sketch: Sketch,
    pub model: String,
}

/// An image to store, with the labels and the payload in the same form.
pub struct ImageUpload {
    /// The image file, not yet checked.
    pub image: Bytes,
    pub labels: Vec<String>,
    pub payload: Option<Value>,
}

/// Query parameters. The error for an unknown one lists the known ones.
pub struct Params<T>(pub T);

/// The parameters of a route that has none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoParams {}

/// The image id in the path.
pub struct Id(pub ImageId);

/// A name in the path, such as a model's or a job's id.
pub struct Name(pub String);

/// A body that arrived in time, and its meter, which holds the body's memory until it is dropped.
/// Slower bodies are refused, since they hold memory that others need.
pub(crate) struct TimedBody<T>(pub T, pub BodyMeter);

/// A JSON object. Serde alone also accepts an array of the members in their order of declaration,
/// which is not part of the API.
pub struct Object<T>(pub T);

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
}

impl<T: FromRequest<AppState>> FromRequest<AppState> for TimedBody<T>
where
    ApiError: From<T::Rejection>,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let limit = state.parts().body_timeout;
        let (meter, mut request) = BodyMeter::wrap(&state.parts().budget, request, true);
        request.extensions_mut().insert(meter.clone());
        let read = timeout(limit, T::from_request(request, state)).await;
        meter.check_complete()?;
        let read = read.map_err(|_| ApiError::BodyTooSlow(limit))?;
        Ok(TimedBody(read?, meter))
    }
}

impl FromRequest<AppState> for QueryInput {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        if media_type(&request).is_some_and(|found| found.subtype() == mime::JSON) {
            let Json(Object(input)) = Json::from_request(request, state).await?;
            return parse_json_input(input);
        }
        let upload = read_upload(request, state, &["image"]).await?;
        Ok(QueryInput::Image(upload.image))
    }
}

impl FromRequest<AppState> for ImageUpload {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        read_upload(request, state, &["image", "labels", "payload"]).await
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut request::Parts, state: &S) -> Result<Self, ApiError> {
        check_query(parts.uri.query().unwrap_or_default())?;
        let Query(params) = Query::from_request_parts(parts, state).await?;
        Ok(Params(params))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        value.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, text: &mut fmt::Formatter) -> fmt::Result {
        text.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(members)).map(Object)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut request::Parts, state: &S) -> Result<Self, ApiError> {
        let Path(id) = Path::<String>::from_request_parts(parts, state).await?;
        Ok(Id(id.parse()?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut request::Parts, state: &S) -> Result<Self, ApiError> {
        let Path(name) = Path::<String>::from_request_parts(parts, state).await?;
        Ok(Name(name))
    }
}

/// Refuses a query that is not UTF-8, and a repeated parameter, except `label`.
fn check_query(query: &str) -> Result<(), ApiError> {
    let decoded: Vec<u8> = percent_decode(query.as_bytes()).collect();
    if std::str::from_utf8(&decoded).is_err() {
        let detail = "the query is not UTF-8 after decoding its %XX".to_owned();
        return Err(ApiError::Invalid("invalid_parameter", detail));
    }
    let mut seen = HashSet::new();
    for (name, _) in form_urlencoded::parse(query.as_bytes()) {
        if name != "label" && !seen.insert(name.clone()) {
            let name: String = name.chars().take(40).collect();
            let detail = format!("{name} comes twice; give it once");
            return Err(ApiError::Invalid("invalid_parameter", detail));
        }
    }
    Ok(())
}

fn media_type(request: &Request) -> Option<mime::Mime> {
    let value = request.headers().get(CONTENT_TYPE)?;
    value.to_str().ok()?.parse().ok()
}

/// Returns true if the content type is multipart/form-data.
pub(crate) fn is_multipart(request: &Request) -> bool {
    media_type(request)
        .is_some_and(|found| (found.type_(), found.subtype()) == (mime::MULTIPART, mime::FORM_DATA))
}

fn parse_json_input(json: JsonQueryInput) -> Result<QueryInput, ApiError> {
    match json {
        JsonQueryInput {
            image: Some(image),
            id: None,
            code: None,
            sketch: None,
            model: None,
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
        } => Ok(QueryInput::Id(id.parse()?)),
        JsonQueryInput {
            image: None,
            id: None,
            code: Some(code),
            sketch,
            model,
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

/// Reads an image from a form, or from the body itself if it is not multipart. Other content types
/// are ignored: curl sends a form type by default, and the image's format is found in its bytes.
async fn read_upload(
    request: Request,
    state: &AppState,
    fields: &[&str],
) -> Result<ImageUpload, ApiError> {
    if is_multipart(&request) {
        let meter = request.extensions().get::<BodyMeter>().cloned();
        let meter = meter.ok_or_else(|| ApiError::internal("a form without a meter"))?;
        return read_form(
            Multipart::from_request(request, state).await?,
            &meter,
            fields,
        )
        .await;
    }
    let image = Bytes::from_request(request, state).await?;
    if image.is_empty() {
        return Err(ApiError::EmptyBody);
    }
    // No image format starts like this.
    if image.trim_ascii_start().starts_with(b"{") {
        let detail = "the body looks like JSON, but its Content-Type says otherwise; send `Content-Type: application/json`, as `curl --json` does";
        return Err(ApiError::MediaType(detail.to_owned()));
    }
    Ok(ImageUpload {
        image,
        labels: Vec::new(),
        payload: None,
    })
}

/// Returns the next field of a form, if there is one. Limits the bytes before its content.
pub(crate) async fn next_field<'a>(
    form: &'a mut Multipart,
    meter: &BodyMeter,
) -> Result<Option<Field<'a>>, ApiError> {
    meter.expect_field_head();
    let field = form.next_field().await;
    meter.check_complete()?;
    meter.expect_field_content();
    Ok(field?)
}

async fn read_form(
    mut multipart: Multipart,
    meter: &BodyMeter,
    fields: &[&str],
) -> Result<ImageUpload, ApiError> {
    let (mut image, mut labels, mut payload) = (None, Vec::new(), None);
    while let Some(field) = next_field(&mut multipart, meter).await? {
        let name = field.name().unwrap_or_default().to_owned();
        match name.as_str() {
            known if !fields.contains(&known) => return Err(unknown_field(known, fields)),
            "image" if image.is_some() => return Err(repeated_field("image")),
            "image" => image = Some(field.bytes().await?),
            "labels" => labels.push(read_text(field).await?),
            _ if payload.is_some() => return Err(repeated_field("payload")),
            _ => payload = Some(parse_payload(&read_text(field).await?)?),
        }
    }
    let image = image.ok_or_else(|| {
        ApiError::Invalid("missing_image", "the form has no field `image`".to_owned())
    })?;
    Ok(ImageUpload {
        image,
        labels,
        payload,
    })
}

/// Parses a payload.
pub(crate) fn parse_payload(text: &str) -> Result<Value, ApiError> {
    if text.len() > MAX_TEXT_BYTES {
        let detail = format!("`payload` has more than {MAX_TEXT_BYTES} bytes");
        return Err(ApiError::Invalid("invalid_payload", detail));
    }
    check_integers(text)?;
    serde_json::from_str(text).map_err(|error| {
        ApiError::Invalid("invalid_payload", format!("`payload` is not JSON: {error}"))
    })
}

/// Reads a text field.
pub(crate) async fn read_text(mut field: Field<'_>) -> Result<String, ApiError> {
    let mut text = Vec::new();
    while let Some(chunk) = field.chunk().await? {
        text.extend_from_slice(&chunk);
        if text.len() > MAX_TEXT_BYTES {
            let detail = format!("a field has more than {MAX_TEXT_BYTES} bytes");
            return Err(ApiError::Invalid("invalid_form", detail));
        }
    }
    String::from_utf8(text)
        .map_err(|_| ApiError::Invalid("invalid_form", "a field is not UTF-8".to_owned()))
}

/// The error for a second field of one name.
pub(crate) fn repeated_field(name: &str) -> ApiError {
    let detail = format!("the field `{name}` comes twice; give it once");
    ApiError::Invalid("invalid_form", detail)
}

/// The error for a field that is not one of `fields`.
pub(crate) fn unknown_field(found: &str, fields: &[&str]) -> ApiError {
    let found: String = found.chars().take(40).collect();
    let expected = fields.join("`, `");
    let detail = format!("the form has a field `{found}`; expected `{expected}`");
    ApiError::Invalid("unknown_field", detail)
}
