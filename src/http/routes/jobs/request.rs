//! What is to be done, as a request says it: JSON, or a form of that and an archive to learn from.
//! Knows forms and the limits of each part; neither jobs nor what an archive holds.

use std::ops::RangeInclusive;

use axum::{
    Json,
    extract::{DefaultBodyLimit, FromRequest, Multipart, Request, multipart::Field},
};
use bytes::BytesMut;
use serde::{
    Deserialize,
    de::{self, DeserializeOwned},
};
use serde_json::{Map, Value};
use tokio::time::timeout;

use crate::{
    gallery::check_each_label,
    http::{
        body::{
            MAX_JSON_BYTES,
            budget::Meter,
            upload::{Upload, receive},
        },
        error::ApiError,
        extract::{Object, TimedBody, is_form, next_field, twice, unknown_field},
        routes::{jobs::members, search::NoParams},
        state::AppState,
    },
    index::nfc,
    jobs::{Adapt, Archive, FineTune, MAX_ARCHIVE_BYTES, Task},
};

const PRIORITIES: RangeInclusive<i32> = -1000..=1000;
const FIELDS: [&str; 2] = ["job", "archive"];

/// A request that is right as far as it can be told without the service.
pub(crate) struct NewJob {
    /// Without the model's id where that is the active one's.
    pub task: Task,
    pub priority: i32,
    pub archive: Option<Upload>,
}

/// A request: what kind of job, how urgent, and by kind what is to be done.
#[derive(Deserialize)]
struct Asked {
    kind: Kind,
    #[serde(default)]
    priority: i32,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    FineTune,
    Adapt,
    Reencode,
    FindDuplicates,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reencode {
    model: String,
}

/// The options of a job. A member that is none of them is refused, where in the record of a job it is passed over.
fn options<T: DeserializeOwned>(members: Value) -> Result<T, ApiError> {
    let known = members::of::<T>();
    let given = members.as_object().into_iter().flatten();
    for (name, _) in given {
        if !known.contains(&name.as_str()) {
            return Err(wrong(de::Error::unknown_field(name, known)));
        }
    }
    serde_json::from_value(members).map_err(wrong)
}

fn wrong(error: serde_json::Error) -> ApiError {
    ApiError::Invalid("invalid_json", error.to_string())
}

/// Whole numbers as such: JSON has 4 and 4.0 for one number, serde for two.
fn whole_numbers(value: Value) -> Value {
    match value {
        Value::Number(number) => {
            let float = number.as_f64().filter(|float| {
                number.is_f64() && float.fract() == 0.0 && float.abs() < 2f64.powi(53)
            });
            float.map_or(Value::Number(number), |float| (float as i64).into())
        }
        Value::Array(items) => items.into_iter().map(whole_numbers).collect(),
        Value::Object(members) => {
            let members = members.into_iter();
            Value::Object(
                members
                    .map(|(name, value)| (name, whole_numbers(value)))
                    .collect(),
            )
        }
        other => other,
    }
}

impl Asked {
    fn task(self, archive: Option<Archive>) -> Result<Task, ApiError> {
        let rest = Value::Object(self.rest);
        Ok(match self.kind {
            Kind::Adapt | Kind::Reencode | Kind::FindDuplicates if archive.is_some() => {
                let detail =
                    "an archive is something to learn from; the job's kind has to be `fine_tune`";
                return Err(ApiError::Invalid("invalid_form", detail.to_owned()));
            }
            Kind::Reencode => {
                let Reencode { model } = serde_json::from_value(rest).map_err(wrong)?;
                Task::Reencode { model }
            }
            Kind::Adapt => {
                let options: Adapt = options(rest)?;
                options.check()?;
                Task::Adapt(options)
            }
            Kind::FindDuplicates => {
                let NoParams {} = serde_json::from_value(rest).map_err(wrong)?;
                let model = String::new();
                Task::FindDuplicates { model }
            }
            Kind::FineTune => {
                let mut options: FineTune = options(rest)?;
                if options.archive.is_some() {
                    let detail =
                        "`archive` is a file beside `job` in a body of multipart/form-data";
                    return Err(ApiError::Invalid("invalid_json", detail.to_owned()));
                }
                options.archive = archive;
                check_each_label(&options.labels)?;
                // As they are stored, for they are compared with what is.
                for label in &mut options.labels {
                    *label = nfc(label).into_owned();
                }
                options.check()?;
                Task::FineTune(options.into())
            }
        })
    }
}

impl FromRequest<AppState> for NewJob {
    type Rejection = ApiError;

    async fn from_request(mut request: Request, state: &AppState) -> Result<Self, ApiError> {
        let (asked, archive) = match is_form(&request) {
            true => {
                // An archive is read as it comes, to its own limit.
                DefaultBodyLimit::disable().apply(&mut request);
                let (meter, request) = Meter::of(&state.parts().budget, request, false);
                let form = Multipart::from_request(request, state).await?;
                read_form(form, &meter, state).await?
            }
            false => {
                DefaultBodyLimit::max(MAX_JSON_BYTES).apply(&mut request);
                type Body = TimedBody<Json<Object<Map<String, Value>>>>;
                let TimedBody(Json(Object(asked)), _held) =
                    Body::from_request(request, state).await?;
                (asked.into(), None)
            }
        };
        let asked: Asked = serde_json::from_value(whole_numbers(asked)).map_err(wrong)?;
        let priority = asked.priority;
        if !PRIORITIES.contains(&priority) {
            let detail = format!("priority {priority} is out of range: -1000 to 1000");
            return Err(ApiError::Invalid("invalid_parameter", detail));
        }
        let told = archive.as_ref().map(|archive| Archive {
            sha256: archive.sha256.clone(),
            bytes: archive.bytes,
        });
        let task = asked.task(told)?;
        Ok(NewJob {
            task,
            priority,
            archive,
        })
    }
}

async fn read_form(
    mut form: Multipart,
    meter: &Meter,
    state: &AppState,
) -> Result<(Value, Option<Upload>), ApiError> {
    let (mut job, mut archive) = (None, None);
    let parts = state.parts();
    let late = |_| ApiError::BodyTooSlow(parts.body_time);
    while let Some(field) = timeout(parts.body_time, next_field(&mut form, meter))
        .await
        .map_err(late)??
    {
        match field.name().unwrap_or_default() {
            "job" if job.is_some() => return Err(twice("job")),
            "job" => {
                let text = timeout(parts.body_time, text(field));
                job = Some(text.await.map_err(late)??);
            }
            "archive" if archive.is_some() => return Err(twice("archive")),
            "archive" => {
                let to = parts.jobs.upload();
                let received = receive(field, to, MAX_ARCHIVE_BYTES, parts.body_time);
                archive = Some(received.await?);
            }
            other => return Err(unknown_field(other, &FIELDS)),
        }
    }
    match (job, archive) {
        (Some(job), Some(archive)) => Ok((job, Some(archive))),
        (None, _) => Err(lacks("job", "what is to be done, as JSON")),
        (_, None) => Err(lacks("archive", "a .tar or .tar.gz file of class folders")),
    }
}

fn lacks(field: &str, what: &str) -> ApiError {
    let detail = format!("the form has no field `{field}`, {what}");
    ApiError::Invalid("invalid_form", detail)
}

/// The JSON of a field.
async fn text(mut field: Field<'_>) -> Result<Value, ApiError> {
    let mut text = BytesMut::new();
    while let Some(chunk) = field.chunk().await? {
        text.extend_from_slice(&chunk);
        if text.len() > MAX_JSON_BYTES {
            return Err(ApiError::BodyTooLarge);
        }
    }
    serde_json::from_slice(&text).map_err(wrong)
}
