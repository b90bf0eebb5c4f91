//! `POST /images/batch`: many images in one form, each stored as it comes and answered for itself.
//! Knows the form's order and what of it may be under way at once; storing is `images`' work.

use std::time::Duration;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, FromRequest, Multipart, Request, State, multipart::Field},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::{Bytes, BytesMut};
use serde::Serialize;
use serde_json::Value;
use tokio::{task::JoinSet, time::timeout};
use uuid::Uuid;

use crate::{
    gallery::{MAX_LABELS, check_labels},
    http::{
        body::{
            answer::holding,
            budget::{Held, Meter},
        },
        error::{ApiError, Problem},
        extract::{Params, Upload, json, next_field, text, twice, unknown_field},
        routes::images::{Image, PutParams, keep},
        state::{AppState, WhenFull},
    },
    index::{ImageId, Precondition},
};

/// How many images of one form are under way at once; the form is read no faster than they are done.
const AT_ONCE: usize = 32;
/// The most images of one form; the answer has a line for each.
const MOST: usize = 10_000;
/// The most bytes of an image's file name, which its line repeats.
const MAX_FILE_BYTES: usize = 1024;
/// What a line of the answer has beside what was said of its image.
const LINE: u64 = 2048;

pub(crate) fn routes() -> Router<AppState> {
    // A form may be of any size; each of its images is held to the limit of a body.
    Router::new()
        .route("/images/batch", post(store))
        .layer(DefaultBodyLimit::disable())
}

#[derive(Serialize)]
struct Answer {
    stored: usize,
    failed: usize,
    items: Vec<Item>,
}

/// What became of one image: its record, or why there is none.
#[derive(Default, Serialize)]
struct Item {
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<Image>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
}

/// What was said before an image, and is said of it.
#[derive(Default)]
struct Said {
    id: Option<String>,
    labels: Vec<String>,
    payload: Option<Value>,
    /// What was said twice and is taken once.
    twice: Option<&'static str>,
    /// How many bytes all of this is.
    bytes: usize,
}

impl Said {
    fn is_something(&self) -> bool {
        self.id.is_some() || !self.labels.is_empty() || self.payload.is_some()
    }
}

async fn store(
    State(state): State<AppState>,
    Params(params): Params<PutParams>,
    request: Request,
) -> Result<Response, ApiError> {
    let (meter, request) = Meter::of(&state.parts().budget, request, false);
    let form = Multipart::from_request(request, &state).await?;
    let mut batch = Batch {
        lines: state.hold_answer(0)?,
        state,
        params,
        items: Vec::new(),
        running: JoinSet::new(),
    };
    let read = batch.read(form, &meter).await;
    // Whatever ended the form, what came before it is stored when the answer goes out.
    batch.settle(0).await?;
    let mut items = batch.items;
    match read {
        Ok(()) if items.is_empty() => {
            let detail = "the form has no field `image`".to_owned();
            return Err(ApiError::Invalid("missing_image", detail));
        }
        Err(error) if items.is_empty() => return Err(error),
        Ok(()) => {}
        // The images before it are answered, and it is too.
        Err(error) => items.push(Item::default().with(Err(error))),
    }
    let failed = items.iter().filter(|item| item.problem.is_some()).count();
    let stored = items.len() - failed;
    let answer = Answer {
        stored,
        failed,
        items,
    };
    Ok(holding(Json(answer).into_response(), batch.lines))
}

/// A form that is read, with what became of its images so far.
struct Batch {
    state: AppState,
    params: PutParams,
    items: Vec<Item>,
    running: JoinSet<(usize, Outcome)>,
    /// The bytes of the answer's lines.
    lines: Held,
}

impl Batch {
    async fn read(&mut self, mut form: Multipart, meter: &Meter) -> Result<(), ApiError> {
        let (mut said, patience) = (Said::default(), self.state.parts().body_time);
        while let Some(mut field) = in_time(patience, next_field(&mut form, meter)).await? {
            match field.name().unwrap_or_default() {
                "id" => {
                    let id = in_time(patience, text(field)).await?;
                    said.bytes += id.len();
                    let earlier = said.id.replace(id);
                    said.twice = said.twice.or(earlier.map(|_| "id"));
                }
                "labels" => {
                    let label = in_time(patience, text(field)).await?;
                    said.bytes += label.len();
                    said.labels.push(label);
                    // One that is not right fails its image; many would take memory without end.
                    if said.labels.len() > MAX_LABELS {
                        check_labels(&said.labels)?;
                    }
                }
                "payload" => {
                    let payload = in_time(patience, text(field)).await?;
                    said.bytes += payload.len();
                    let earlier = said.payload.replace(json(&payload)?);
                    said.twice = said.twice.or(earlier.map(|_| "payload"));
                }
                "image" => {
                    if self.items.len() == MOST {
                        let detail = format!("a form has at most {MOST} images; send more forms");
                        return Err(ApiError::Invalid("invalid_form", detail));
                    }
                    let file = field.file_name().map(str::to_owned);
                    said.bytes += file.as_ref().map_or(0, String::len);
                    if file
                        .as_ref()
                        .is_some_and(|file| file.len() > MAX_FILE_BYTES)
                    {
                        let detail = format!("a file's name has at most {MAX_FILE_BYTES} bytes");
                        return Err(ApiError::Invalid("invalid_form", detail));
                    }
                    self.items.push(Item {
                        file,
                        ..Item::default()
                    });
                    let (mut image, held) = self.image(&mut field, patience).await?;
                    let labels = self.params.label.iter().map(String::len).sum::<usize>();
                    // As values, and written.
                    if let Err(error) = self.lines.need(LINE + 2 * (said.bytes + labels) as u64) {
                        image = Err(error);
                    }
                    let one = one(
                        self.state.clone(),
                        self.params.clone(),
                        std::mem::take(&mut said),
                        image,
                    );
                    let at = self.items.len() - 1;
                    self.running.spawn(async move {
                        let outcome = one.await;
                        drop(held);
                        (at, outcome)
                    });
                    self.settle(AT_ONCE - 1).await?;
                }
                other => return Err(unknown_field(other, &["id", "labels", "payload", "image"])),
            }
        }
        if said.is_something() && !self.items.is_empty() {
            let detail = "an id, labels or a payload come after the last image; each comes before the image that it is for".to_owned();
            return Err(ApiError::Invalid("invalid_form", detail));
        }
        Ok(())
    }

    /// The bytes of an image, which are held until the second value is dropped, or why it is not kept. If it is too large, the rest of it is
    /// passed over, so that what comes after it is read.
    async fn image(
        &mut self,
        field: &mut Field<'_>,
        patience: Duration,
    ) -> Result<(Result<Bytes, ApiError>, Held), ApiError> {
        let budget = self.state.parts().budget.clone();
        let (most, mut held) = (self.state.max_body_bytes(), Held::none(&budget));
        let mut read = Ok(BytesMut::new());
        while let Some(chunk) = in_time(patience, field.chunk()).await? {
            let Ok(bytes) = &mut read else { continue };
            if bytes.len() + chunk.len() > most {
                read = Err(ApiError::BodyTooLarge);
            } else {
                // The bytes grow into a room of twice their number.
                let wanted = 2 * chunk.len() as u64;
                let mut had = held.take(wanted);
                if !had {
                    // The images before it are done soon.
                    self.settle(0).await?;
                    had = held.take(wanted);
                }
                match had {
                    true => bytes.extend_from_slice(&chunk),
                    false => read = Err(ApiError::MemoryFull(budget.total())),
                }
            }
            if read.is_err() {
                held.give_back();
            }
        }
        Ok((read.map(BytesMut::freeze), held))
    }

    /// Waits until no more than so many images are under way.
    async fn settle(&mut self, left: usize) -> Result<(), ApiError> {
        while self.running.len() > left {
            let Some(done) = self.running.join_next().await else {
                break;
            };
            let (at, outcome) = done.map_err(ApiError::internal)?;
            if let Some(item) = self.items.get_mut(at) {
                *item = std::mem::take(item).with(outcome);
            }
        }
        Ok(())
    }
}

/// One image's outcome: what is kept of it and whether it is new.
type Outcome = Result<(Image, bool), ApiError>;

async fn one(
    state: AppState,
    params: PutParams,
    said: Said,
    image: Result<Bytes, ApiError>,
) -> Outcome {
    if let Some(name) = said.twice {
        return Err(twice(name));
    }
    let id: ImageId = match said.id {
        // A route has this name, and nothing else would reach the image.
        Some(id) if id == "batch" => {
            let detail = "an image cannot have the id 'batch', which is the name of a route";
            return Err(ApiError::Invalid("invalid_id", detail.to_owned()));
        }
        Some(id) => id.parse()?,
        None => Uuid::now_v7().to_string().parse()?,
    };
    let upload = Upload {
        image: image?,
        labels: said.labels,
        payload: said.payload,
    };
    let anything = Precondition::default();
    let kept = keep(&state, id, params, upload, anything, WhenFull::Waits).await;
    kept.map(|(record, created)| (record.into(), created))
}

impl Item {
    fn with(mut self, outcome: Outcome) -> Self {
        match outcome {
            Ok((image, created)) => {
                let status = if created {
                    StatusCode::CREATED
                } else {
                    StatusCode::OK
                };
                self.status = status.as_u16();
                self.image = Some(image);
            }
            Err(error) => {
                let problem = error.problem();
                self.status = problem.status;
                self.problem = Some(problem);
            }
        }
        self
    }
}

/// What comes of a body in time. A form may be of any length, but it has to go on.
async fn in_time<T, E>(
    patience: Duration,
    next: impl Future<Output = Result<T, E>>,
) -> Result<T, ApiError>
where
    ApiError: From<E>,
{
    let next = timeout(patience, next).await;
    Ok(next.map_err(|_| ApiError::BodyTooSlow(patience))??)
}
