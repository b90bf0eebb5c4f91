//! Extracts a job from the body of a request: JSON, or a form with JSON and an archive to learn
//! from.

use std::{collections::BTreeMap, ops::RangeInclusive};

use axum::{
    Json,
    extract::{DefaultBodyLimit, FromRequest, Multipart, Request, multipart::Field},
};
use bytes::BytesMut;
use serde::{
    Deserialize,
    de::{self, DeserializeOwned},
};
use serde_json::{Map, Value, value::RawValue};
use tokio::time::timeout;

use crate::{
    gallery::{check_each_label, check_labels, check_payload},
    http::{
        body::{
            MAX_JSON_BYTES,
            budget::BodyMeter,
            upload::{ReceivedFile, receive},
        },
        error::ApiError,
        extract::{
            NoParams, Object, TimedBody,
            filter::parse_filter,
            form::{is_multipart, next_field, parse_payload, repeated_field, unknown_field},
        },
        routes::jobs::members,
        state::AppState,
    },
    index::{ListQuery, nfc},
    jobs::{Adapt, Archive, ChangeImages, DeleteImages, FineTune, MAX_ARCHIVE_BYTES, Task},
};

const PRIORITIES: RangeInclusive<i32> = -1000..=1000;
const FIELDS: [&str; 2] = ["job", "archive"];

/// A new job, checked as far as that is possible without its model.
pub(crate) struct NewJob {
    /// Has no model id if the active model is meant.
    pub task: Task,
    pub priority: i32,
    pub archive: Option<ReceivedFile>,
}

/// The JSON of a request. The members in `rest` depend on the kind.
#[derive(Deserialize)]
struct JobRequest {
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
    DeleteImages,
    ChangeImages,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reencode {
    model: String,
}

/// Parses the options of a job. Refuses unknown members, which the same types ignore in a stored
/// job.
fn options<T: DeserializeOwned>(members: Value) -> Result<T, ApiError> {
    let known = members::member_names::<T>();
    let names = members.as_object().into_iter().flatten();
    for (name, _) in names {
        if !known.contains(&name.as_str()) {
            return Err(invalid_json(de::Error::unknown_field(name, known)));
        }
    }
    // Before the options are parsed, so that a wrong filter has its own code.
    parse_filter(None, members["filter"].as_str(), &[])?;
    serde_json::from_value(members).map_err(invalid_json)
}

fn invalid_json(error: serde_json::Error) -> ApiError {
    ApiError::Invalid("invalid_json", error.to_string())
}

/// Parses the members of a job. The numbers of a payload stay as they are.
fn parse_members(members: BTreeMap<String, Box<RawValue>>) -> Result<Value, ApiError> {
    let parsed = members.into_iter().map(|(name, text)| {
        let value = match name.as_str() {
            "payload" => parse_payload(text.get())?,
            _ => integers_from_floats(serde_json::from_str(text.get()).map_err(invalid_json)?),
        };
        Ok((name, value))
    });
    parsed.collect::<Result<Map<_, _>, _>>().map(Value::Object)
}

/// Replaces floats such as 4.0 by integers: they are one number in JSON, and two in serde.
fn integers_from_floats(value: Value) -> Value {
    match value {
        Value::Number(number) => {
            let float = number.as_f64().filter(|float| {
                number.is_f64() && float.fract() == 0.0 && float.abs() < 2f64.powi(53)
            });
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the float is a whole number between -2^53 and 2^53"
            )]
            let integer = float.map(|float| Value::from(float as i64));
            integer.unwrap_or(Value::Number(number))
        }
        Value::Array(items) => items.into_iter().map(integers_from_floats).collect(),
        Value::Object(members) => {
            let members = members.into_iter();
            Value::Object(
                members
                    .map(|(name, value)| (name, integers_from_floats(value)))
                    .collect(),
            )
        }
        other => other,
    }
}

impl JobRequest {
    fn task(self, archive: Option<Archive>) -> Result<Task, ApiError> {
        let rest = Value::Object(self.rest);
        Ok(match self.kind {
            kind if archive.is_some() && !matches!(kind, Kind::FineTune) => {
                let detail = "only a job of kind `fine_tune` takes an archive";
                return Err(ApiError::Invalid("invalid_form", detail.to_owned()));
            }
            Kind::Reencode => {
                let Reencode { model } = serde_json::from_value(rest).map_err(invalid_json)?;
                Task::Reencode { model }
            }
            Kind::Adapt => {
                let options: Adapt = options(rest)?;
                options.check()?;
                Task::Adapt(options)
            }
            Kind::FindDuplicates => {
                let NoParams {} = serde_json::from_value(rest).map_err(invalid_json)?;
                let model = String::new();
                Task::FindDuplicates { model }
            }
            Kind::DeleteImages => Task::DeleteImages(options::<DeleteImages>(rest)?),
            Kind::ChangeImages => {
                let change: ChangeImages = options(rest)?;
                change.check()?;
                check_labels(change.labels.as_deref().unwrap_or_default())?;
                check_labels(&change.add_labels)?;
                check_labels(&change.remove_labels)?;
                check_payload(change.payload.as_ref())?;
                Task::ChangeImages(change.into())
            }
            Kind::FineTune => {
                let mut options: FineTune = options(rest)?;
                if options.archive.is_some() {
                    let detail =
                        "send `archive` as a file next to `job`, in a body of multipart/form-data";
                    return Err(ApiError::Invalid("invalid_json", detail.to_owned()));
                }
                options.archive = archive;
                check_each_label(&options.labels)?;
                // As stored labels are, because they are compared with those.
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
        let (asked, archive) = if is_multipart(&request) {
            // An archive is written to a file as it arrives, and has its own limit.
            DefaultBodyLimit::disable().apply(&mut request);
            let (meter, request) = BodyMeter::wrap(&state.parts().budget, request, false);
            let form = Multipart::from_request(request, state).await?;
            let (asked, archive) = read_form(form, &meter, state).await?;
            (integers_from_floats(asked), archive)
        } else {
            DefaultBodyLimit::max(MAX_JSON_BYTES).apply(&mut request);
            type Body = TimedBody<Json<Object<BTreeMap<String, Box<RawValue>>>>>;
            let TimedBody(Json(Object(asked)), _meter) = Body::from_request(request, state).await?;
            (parse_members(asked)?, None)
        };
        let request: JobRequest = serde_json::from_value(asked).map_err(invalid_json)?;
        let priority = request.priority;
        if !PRIORITIES.contains(&priority) {
            let detail = format!("priority {priority} is out of range: -1000 to 1000");
            return Err(ApiError::Invalid("invalid_parameter", detail));
        }
        let stored = archive.as_ref().map(|archive| Archive {
            sha256: archive.sha256.clone(),
            bytes: archive.bytes,
        });
        let task = request.task(stored)?;
        if let Some(filter) = task.filter() {
            // Fails if the fields of the filter are not declared and built.
            let query = ListQuery {
                filter: Some(filter.clone()),
                ..ListQuery::default()
            };
            state.read(move |index| index.list(&query)).await?;
        }
        Ok(NewJob {
            task,
            priority,
            archive,
        })
    }
}

async fn read_form(
    mut form: Multipart,
    meter: &BodyMeter,
    state: &AppState,
) -> Result<(Value, Option<ReceivedFile>), ApiError> {
    let (mut job, mut archive) = (None, None);
    let parts = state.parts();
    let late = |_| ApiError::BodyTooSlow(parts.body_timeout);
    while let Some(field) = timeout(parts.body_timeout, next_field(&mut form, meter))
        .await
        .map_err(late)??
    {
        match field.name().unwrap_or_default() {
            "job" if job.is_some() => return Err(repeated_field("job")),
            "job" => {
                let text = timeout(parts.body_timeout, read_json(field));
                job = Some(text.await.map_err(late)??);
            }
            "archive" if archive.is_some() => return Err(repeated_field("archive")),
            "archive" => {
                let path = parts.jobs.upload_path();
                let received = receive(field, path, MAX_ARCHIVE_BYTES, parts.body_timeout);
                archive = Some(received.await?);
            }
            other => return Err(unknown_field(other, &FIELDS)),
        }
    }
    match (job, archive) {
        (Some(job), Some(archive)) => Ok((job, Some(archive))),
        (None, _) => Err(missing_field("job", "the job as JSON")),
        (_, None) => Err(missing_field(
            "archive",
            "a .tar or .tar.gz file of class folders",
        )),
    }
}

fn missing_field(field: &str, what: &str) -> ApiError {
    let detail = format!("the form has no field `{field}`, {what}");
    ApiError::Invalid("invalid_form", detail)
}

/// Reads a field of JSON.
async fn read_json(mut field: Field<'_>) -> Result<Value, ApiError> {
    let mut text = BytesMut::new();
    while let Some(chunk) = field.chunk().await? {
        text.extend_from_slice(&chunk);
        if text.len() > MAX_JSON_BYTES {
            return Err(ApiError::BodyTooLarge);
        }
    }
    serde_json::from_slice(&text).map_err(invalid_json)
}
