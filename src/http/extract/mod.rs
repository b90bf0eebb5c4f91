//! Request bodies and parameters in every form they come in, turned into one each.
//! Knows the forms, not what becomes of them: no pixels, no index, no answers.

pub mod parameter;

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
    http::{body::budget::Meter, error::ApiError, state::AppState},
    index::{ImageId, Sketch},
};

pub(crate) use parameter::given;

/// The most bytes of a field that is not an image, and of a payload before it is read: read, it takes up to sixteen times as many.
const MAX_TEXT_BYTES: usize = 64 << 10;

/// Padding is often left out by hand-written clients, and says nothing.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What to look for or to encode: an image, one that is stored, or a code.
#[derive(Clone)]
pub enum Subject {
    /// An image file, as yet unchecked.
    Image(Bytes),
    /// A stored image.
    Id(ImageId),
    /// A code, and what the sketch beside it is.
    Code(HashCode, Option<OfModel>),
}

/// A sketch that a caller has from an earlier answer.
#[derive(Clone)]
pub struct OfModel {
    /// The sketch.
    pub sketch: Sketch,
    /// The model that made it.
    pub model: String,
}

/// An image to store, with what comes along in the same body.
pub struct Upload {
    /// The image file, as yet unchecked.
    pub image: Bytes,
    /// Labels in the form.
    pub labels: Vec<String>,
    /// The payload in the form.
    pub payload: Option<Value>,
}

/// Query parameters; an unknown one is an error that names those there are.
pub struct Params<T>(pub T);

/// The image id in the path.
pub struct Id(pub ImageId);

/// A name in the path, of a model or a job.
pub struct Name(pub String);

/// A body that came in the time it has, with the bytes that it holds for as long as this is kept. Whoever sends slower holds memory that others
/// need.
pub(crate) struct TimedBody<T>(pub T, pub Meter);

/// A JSON object. Serde alone takes an array of its members as well, in an order that nobody promised.
pub struct Object<T>(pub T);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonSubject {
    #[serde(default, deserialize_with = "given")]
    image: Option<String>,
    #[serde(default, deserialize_with = "given")]
    id: Option<String>,
    #[serde(default, deserialize_with = "given")]
    code: Option<String>,
    #[serde(default, deserialize_with = "given")]
    sketch: Option<String>,
    #[serde(default, deserialize_with = "given")]
    model: Option<String>,
}

impl<T: FromRequest<AppState>> FromRequest<AppState> for TimedBody<T>
where
    ApiError: From<T::Rejection>,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let limit = state.parts().body_time;
        let (meter, mut request) = Meter::of(&state.parts().budget, request, true);
        request.extensions_mut().insert(meter.clone());
        let read = timeout(limit, T::from_request(request, state)).await;
        meter.whole()?;
        let read = read.map_err(|_| ApiError::BodyTooSlow(limit))?;
        Ok(TimedBody(read?, meter))
    }
}

impl FromRequest<AppState> for Subject {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        if media_type(&request).is_some_and(|found| found.subtype() == mime::JSON) {
            let Json(Object(subject)) = Json::from_request(request, state).await?;
            return json_subject(subject);
        }
        let upload = upload(request, state, &["image"]).await?;
        Ok(Subject::Image(upload.image))
    }
}

impl FromRequest<AppState> for Upload {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        upload(request, state, &["image", "labels", "payload"]).await
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
        value.deserialize_map(OfMap(PhantomData))
    }
}

struct OfMap<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OfMap<T> {
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

/// Refuses a query that is not UTF-8, and a parameter that comes twice although it is taken once.
fn check_query(query: &str) -> Result<(), ApiError> {
    let decoded: Vec<u8> = percent_decode(query.as_bytes()).collect();
    if std::str::from_utf8(&decoded).is_err() {
        let detail = "the query is not UTF-8 once its %XX are decoded".to_owned();
        return Err(ApiError::Invalid("invalid_parameter", detail));
    }
    let mut seen = HashSet::new();
    for (name, _) in form_urlencoded::parse(query.as_bytes()) {
        // Any number of labels may be asked for.
        if name != "label" && !seen.insert(name.clone()) {
            let name: String = name.chars().take(40).collect();
            let detail = format!("{name} comes twice; it is taken once");
            return Err(ApiError::Invalid("invalid_parameter", detail));
        }
    }
    Ok(())
}

fn media_type(request: &Request) -> Option<mime::Mime> {
    let value = request.headers().get(CONTENT_TYPE)?;
    value.to_str().ok()?.parse().ok()
}

/// Whether a body says that it is multipart/form-data.
pub(crate) fn is_form(request: &Request) -> bool {
    media_type(request)
        .is_some_and(|found| (found.type_(), found.subtype()) == (mime::MULTIPART, mime::FORM_DATA))
}

fn json_subject(json: JsonSubject) -> Result<Subject, ApiError> {
    match json {
        JsonSubject {
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
            Ok(Subject::Image(BASE64.decode(plain(text))?.into()))
        }
        JsonSubject {
            image: None,
            id: Some(id),
            code: None,
            sketch: None,
            model: None,
        } => Ok(Subject::Id(id.parse()?)),
        JsonSubject {
            image: None,
            id: None,
            code: Some(code),
            sketch,
            model,
        } if sketch.is_some() == model.is_some() => {
            let sketch = sketch.zip(model).map(|(sketch, model)| {
                let sketch = Sketch::try_from(sketch)?;
                Ok::<_, ApiError>(OfModel { sketch, model })
            });
            Ok(Subject::Code(code.parse()?, sketch.transpose()?))
        }
        _ => Err(ApiError::Invalid(
            "invalid_json",
            "give exactly one of `image`, `id` and `code`; beside `code`, give both `sketch` and `model` or neither".to_owned(),
        )),
    }
}

/// Base64 in its usual alphabet and on one line: some encoders write lines, others the alphabet for URLs.
fn plain(text: &str) -> Vec<u8> {
    let bytes = text.bytes().filter(|byte| !byte.is_ascii_whitespace());
    bytes
        .map(|byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            other => other,
        })
        .collect()
}

/// Anything but multipart is taken for the image itself: curl declares a form by default, and content decides anyway.
async fn upload(request: Request, state: &AppState, fields: &[&str]) -> Result<Upload, ApiError> {
    if is_form(&request) {
        let meter = request.extensions().get::<Meter>().cloned();
        let meter = meter.ok_or_else(|| ApiError::internal("a form that is not metered"))?;
        return form(
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
    // No picture begins so.
    if image.trim_ascii_start().starts_with(b"{") {
        let detail = "the body looks like JSON, and its Content-Type says otherwise; send it with `Content-Type: application/json`, as `curl --json` does";
        return Err(ApiError::MediaType(detail.to_owned()));
    }
    Ok(Upload {
        image,
        labels: Vec::new(),
        payload: None,
    })
}

/// The next field of a form, if there is one. What comes before its content is of bounded length.
pub(crate) async fn next_field<'a>(
    form: &'a mut Multipart,
    meter: &Meter,
) -> Result<Option<Field<'a>>, ApiError> {
    meter.head();
    let field = form.next_field().await;
    meter.whole()?;
    meter.content();
    Ok(field?)
}

async fn form(
    mut multipart: Multipart,
    meter: &Meter,
    fields: &[&str],
) -> Result<Upload, ApiError> {
    let (mut image, mut labels, mut payload) = (None, Vec::new(), None);
    while let Some(field) = next_field(&mut multipart, meter).await? {
        let name = field.name().unwrap_or_default().to_owned();
        match name.as_str() {
            known if !fields.contains(&known) => return Err(unknown_field(known, fields)),
            "image" if image.is_some() => return Err(twice("image")),
            "image" => image = Some(field.bytes().await?),
            "labels" => labels.push(text(field).await?),
            _ if payload.is_some() => return Err(twice("payload")),
            _ => payload = Some(json(&text(field).await?)?),
        }
    }
    let image = image.ok_or_else(|| {
        ApiError::Invalid("missing_image", "the form has no field `image`".to_owned())
    })?;
    Ok(Upload {
        image,
        labels,
        payload,
    })
}

/// The payload in a text.
pub(crate) fn json(text: &str) -> Result<Value, ApiError> {
    if text.len() > MAX_TEXT_BYTES {
        let detail = format!("`payload` is written in more than {MAX_TEXT_BYTES} bytes");
        return Err(ApiError::Invalid("invalid_payload", detail));
    }
    check_integers(text)?;
    serde_json::from_str(text).map_err(|error| {
        ApiError::Invalid("invalid_payload", format!("`payload` is not JSON: {error}"))
    })
}

/// The text of a field.
pub(crate) async fn text(mut field: Field<'_>) -> Result<String, ApiError> {
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

/// A field that comes again.
pub(crate) fn twice(name: &str) -> ApiError {
    let detail = format!("the field `{name}` comes twice; it is taken once");
    ApiError::Invalid("invalid_form", detail)
}

/// A field that a form does not have.
pub(crate) fn unknown_field(found: &str, fields: &[&str]) -> ApiError {
    let found: String = found.chars().take(40).collect();
    let expected = fields.join("`, `");
    let detail = format!("the form has a field `{found}`; expected `{expected}`");
    ApiError::Invalid("unknown_field", detail)
}
