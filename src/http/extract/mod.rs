//! Extracts bodies and parameters from requests.
//!
//! This file has ids and names in the path, the query, JSON objects, and bodies with a time limit.
//!
//! - `filter`: filters in queries and bodies
//! - `form`: images as bodies or in forms
//! - `idempotency_key`: the header of that name
//! - `query_input`: the input of a search, as an image or JSON
//! - `parameters`: single values

pub mod filter;
pub mod form;
pub mod idempotency_key;
pub mod parameters;
pub mod query_input;

use std::{collections::HashSet, fmt, marker::PhantomData};

use axum::{
    extract::{FromRequest, FromRequestParts, Path, Request},
    http::request,
};
use axum_extra::extract::Query;
use percent_encoding::percent_decode;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, Visitor, value::MapAccessDeserializer},
};
use tokio::time::timeout;
use url::form_urlencoded;

use crate::{
    http::{body::budget::BodyMeter, error::ApiError, state::AppState},
    index::{FieldPath, ImageId},
};

/// Query parameters. The error for an unknown one lists the known ones.
pub struct Params<T>(pub T);

/// The parameters of a route that has none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoParams {}

/// The image id in the path.
pub struct Id(pub ImageId);

/// The path of a field, in the path.
pub struct FieldName(pub FieldPath);

/// A name in the path, such as a model's or a job's id.
pub struct Name(pub String);

/// A body that arrived in time, and its meter, which holds the body's memory until it is dropped.
/// Slower bodies are refused, since they hold memory that others need.
pub(crate) struct TimedBody<T>(pub T, pub BodyMeter);

/// A JSON object. Serde alone also accepts an array of the members in their order of declaration,
/// which is not part of the API.
pub struct Object<T>(pub T);

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

impl<S: Send + Sync> FromRequestParts<S> for FieldName {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut request::Parts, state: &S) -> Result<Self, ApiError> {
        let Path(path) = Path::<String>::from_request_parts(parts, state).await?;
        Ok(FieldName(path.parse()?))
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
