//! Extracts images with their labels and payload, from forms or from the body itself, and the
//! fields of other forms.

use axum::{
    extract::{FromRequest, Multipart, Request, multipart::Field},
    http::header::CONTENT_TYPE,
};
use bytes::Bytes;
use serde_json::Value;

use crate::{
    gallery::check_integers,
    http::{body::budget::BodyMeter, error::ApiError, state::AppState},
};

/// Maximum number of bytes of a field that is not an image, and of a payload's JSON. Parsed JSON
/// takes up to sixteen times as much memory.
const MAX_TEXT_BYTES: usize = 64 << 10;

/// An image, with the fields of the same form: those of an image to store, or those of a search.
#[derive(Default)]
pub struct ImageUpload {
    /// The image file, not yet checked.
    pub image: Bytes,
    pub labels: Vec<String>,
    pub payload: Option<Value>,
    pub filter: Option<String>,
}

impl FromRequest<AppState> for ImageUpload {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        read_upload(request, state, &["image", "labels", "payload"]).await
    }
}

pub(super) fn media_type(request: &Request) -> Option<mime::Mime> {
    let value = request.headers().get(CONTENT_TYPE)?;
    value.to_str().ok()?.parse().ok()
}

/// Returns true if the content type is multipart/form-data.
pub(crate) fn is_multipart(request: &Request) -> bool {
    media_type(request)
        .is_some_and(|found| (found.type_(), found.subtype()) == (mime::MULTIPART, mime::FORM_DATA))
}

/// Reads an image from a form, or from the body itself if it is not multipart. Other content types
/// are ignored: curl sends a form type by default, and the image's format is found in its bytes.
pub(super) async fn read_upload(
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
        ..ImageUpload::default()
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
    let (mut image, mut labels, mut payload, mut filter) = (None, Vec::new(), None, None);
    while let Some(field) = next_field(&mut multipart, meter).await? {
        let name = field.name().unwrap_or_default().to_owned();
        match name.as_str() {
            known if !fields.contains(&known) => return Err(unknown_field(known, fields)),
            "image" if image.is_some() => return Err(repeated_field("image")),
            "image" => image = Some(field.bytes().await?),
            "labels" => labels.push(read_text(field).await?),
            "filter" if filter.is_some() => return Err(repeated_field("filter")),
            "filter" => filter = Some(read_text(field).await?),
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
        filter,
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
