//! `POST /images/batch`: stores the images of one form as they arrive, and answers with one item
//! for each. `images` stores them.

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
            budget::{BodyMeter, Reservation},
            response::with_reservation,
        },
        encode::WhenFull,
        error::{ApiError, problem::Problem},
        extract::{
            Params,
            form::{
                ImageUpload, next_field, parse_payload, read_text, repeated_field, unknown_field,
            },
        },
        routes::images::{Image, PutParams, encode_and_store},
        state::AppState,
    },
    index::{ImageId, Precondition},
};

/// Images of one form that are stored concurrently. The form is read no faster than they are
/// stored.
const MAX_CONCURRENT: usize = 32;
/// Maximum number of images of one form, because the answer has an item for each.
const MAX_IMAGES: usize = 10_000;
/// Maximum number of bytes of an image's file name, because its item repeats it.
const MAX_FILE_BYTES: usize = 1024;
/// Bytes reserved for an item of the answer, without the fields sent with its image.
const ITEM_OVERHEAD: u64 = 2048;

pub(crate) fn routes() -> Router<AppState> {
    // A form may have any size; the limit of a body holds for each of its images.
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

/// The outcome of one image: its record or a problem.
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

/// The fields before an image, which describe it.
#[derive(Default)]
struct ImageFields {
    id: Option<String>,
    labels: Vec<String>,
    payload: Option<Value>,
    /// A field that came twice and may come once.
    repeated: Option<&'static str>,
    /// The total size of the fields.
    bytes: usize,
}

impl ImageFields {
    fn is_any_set(&self) -> bool {
        self.id.is_some() || !self.labels.is_empty() || self.payload.is_some()
    }
}

async fn store(
    State(state): State<AppState>,
    Params(params): Params<PutParams>,
    request: Request,
) -> Result<Response, ApiError> {
    let (meter, request) = BodyMeter::wrap(&state.parts().budget, request, false);
    let form = Multipart::from_request(request, &state).await?;
    let mut batch = Batch {
        answer_memory: state.reserve_answer(0)?,
        state,
        params,
        items: Vec::new(),
        running: JoinSet::new(),
    };
    let read = batch.read(form, &meter).await;
    // However the form ended, the images before that are stored before the answer is sent.
    batch.wait_until_running(0).await?;
    let mut items = batch.items;
    match read {
        Ok(()) if items.is_empty() => {
            let detail = "the form has no field `image`".to_owned();
            return Err(ApiError::Invalid("missing_image", detail));
        }
        Err(error) if items.is_empty() => return Err(error),
        Ok(()) => {}
        // The answer has the images before the error, and the error as a last item.
        Err(error) => items.push(Item::default().with_outcome(Err(error))),
    }
    let failed = items.iter().filter(|item| item.problem.is_some()).count();
    let stored = items.len() - failed;
    let answer = Answer {
        stored,
        failed,
        items,
    };
    Ok(with_reservation(
        Json(answer).into_response(),
        batch.answer_memory,
    ))
}

/// The state of a form that is being read.
struct Batch {
    state: AppState,
    params: PutParams,
    items: Vec<Item>,
    running: JoinSet<(usize, Outcome)>,
    /// The memory of the answer's items.
    answer_memory: Reservation,
}

impl Batch {
    async fn read(&mut self, mut form: Multipart, meter: &BodyMeter) -> Result<(), ApiError> {
        let (mut fields, chunk_timeout) = (ImageFields::default(), self.state.parts().body_timeout);
        while let Some(mut field) =
            with_timeout(chunk_timeout, next_field(&mut form, meter)).await?
        {
            match field.name().unwrap_or_default() {
                "id" => {
                    let id = with_timeout(chunk_timeout, read_text(field)).await?;
                    fields.bytes += id.len();
                    let earlier = fields.id.replace(id);
                    fields.repeated = fields.repeated.or(earlier.map(|_| "id"));
                }
                "labels" => {
                    let label = with_timeout(chunk_timeout, read_text(field)).await?;
                    fields.bytes += label.len();
                    fields.labels.push(label);
                    // An invalid label fails its image. Too many would take unlimited memory, so
                    // they end the form.
                    if fields.labels.len() > MAX_LABELS {
                        check_labels(&fields.labels)?;
                    }
                }
                "payload" => {
                    let payload = with_timeout(chunk_timeout, read_text(field)).await?;
                    fields.bytes += payload.len();
                    let earlier = fields.payload.replace(parse_payload(&payload)?);
                    fields.repeated = fields.repeated.or(earlier.map(|_| "payload"));
                }
                "image" => {
                    if self.items.len() == MAX_IMAGES {
                        let detail = format!(
                            "a form has at most {MAX_IMAGES} images; send the rest in further forms"
                        );
                        return Err(ApiError::Invalid("invalid_form", detail));
                    }
                    let file = field.file_name().map(str::to_owned);
                    fields.bytes += file.as_ref().map_or(0, String::len);
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
                    let (mut image, reservation) = self.image(&mut field, chunk_timeout).await?;
                    let labels = self.params.label.iter().map(String::len).sum::<usize>();
                    // Twice: as values and as JSON.
                    if let Err(error) = self
                        .answer_memory
                        .add(ITEM_OVERHEAD + 2 * (fields.bytes + labels) as u64)
                    {
                        image = Err(error);
                    }
                    let stored = store_one(
                        self.state.clone(),
                        self.params.clone(),
                        std::mem::take(&mut fields),
                        image,
                    );
                    let number = self.items.len() - 1;
                    self.running.spawn(async move {
                        let outcome = stored.await;
                        drop(reservation);
                        (number, outcome)
                    });
                    self.wait_until_running(MAX_CONCURRENT - 1).await?;
                }
                other => return Err(unknown_field(other, &["id", "labels", "payload", "image"])),
            }
        }
        if fields.is_any_set() && !self.items.is_empty() {
            let detail = "an id, labels or a payload come after the last image; send them before the image that they are for".to_owned();
            return Err(ApiError::Invalid("invalid_form", detail));
        }
        Ok(())
    }

    /// Reads an image and returns it, or why it is refused, with the reservation of its memory. The
    /// rest of a refused image is skipped, so that the images after it are read.
    async fn image(
        &mut self,
        field: &mut Field<'_>,
        chunk_timeout: Duration,
    ) -> Result<(Result<Bytes, ApiError>, Reservation), ApiError> {
        let budget = self.state.parts().budget.clone();
        let (most, mut reservation) = (self.state.max_body_bytes(), Reservation::empty(&budget));
        let mut read = Ok(BytesMut::new());
        while let Some(chunk) = with_timeout(chunk_timeout, field.chunk()).await? {
            let Ok(bytes) = &mut read else { continue };
            if bytes.len() + chunk.len() > most {
                read = Err(ApiError::BodyTooLarge);
            } else {
                // A growing buffer may have twice the capacity that it needs.
                let wanted = 2 * chunk.len() as u64;
                let mut is_reserved = reservation.try_add(wanted);
                if !is_reserved {
                    // The images before this one release theirs.
                    self.wait_until_running(0).await?;
                    is_reserved = reservation.try_add(wanted);
                }
                if is_reserved {
                    bytes.extend_from_slice(&chunk);
                } else {
                    read = Err(ApiError::MemoryFull(budget.total()));
                }
            }
            if read.is_err() {
                reservation.release();
            }
        }
        Ok((read.map(BytesMut::freeze), reservation))
    }

    /// Waits until at most `left` images are being stored.
    async fn wait_until_running(&mut self, left: usize) -> Result<(), ApiError> {
        while self.running.len() > left {
            let Some(done) = self.running.join_next().await else {
                break;
            };
            let (number, outcome) = done.map_err(ApiError::internal)?;
            if let Some(item) = self.items.get_mut(number) {
                *item = std::mem::take(item).with_outcome(outcome);
            }
        }
        Ok(())
    }
}

/// The record of a stored image, and true if it is new.
type Outcome = Result<(Image, bool), ApiError>;

async fn store_one(
    state: AppState,
    params: PutParams,
    fields: ImageFields,
    image: Result<Bytes, ApiError>,
) -> Outcome {
    if let Some(name) = fields.repeated {
        return Err(repeated_field(name));
    }
    let id: ImageId = match fields.id {
        // `/images/batch` is this route, so no route would reach the image.
        Some(id) if id == "batch" => {
            let detail = "an image cannot have the id 'batch', because it is the name of a route";
            return Err(ApiError::Invalid("invalid_id", detail.to_owned()));
        }
        Some(id) => id.parse()?,
        None => Uuid::now_v7().to_string().parse()?,
    };
    let upload = ImageUpload {
        image: image?,
        labels: fields.labels,
        payload: fields.payload,
        filter: None,
    };
    let none = Precondition::default();
    let stored = encode_and_store(&state, id, params, upload, none, WhenFull::Wait).await;
    stored.map(|(record, created)| (record.into(), created))
}

impl Item {
    fn with_outcome(mut self, outcome: Outcome) -> Self {
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

/// Waits for the next part of a body. A form may take any time, but each part must arrive in time.
async fn with_timeout<T, E>(
    chunk_timeout: Duration,
    next: impl Future<Output = Result<T, E>>,
) -> Result<T, ApiError>
where
    ApiError: From<E>,
{
    let next = timeout(chunk_timeout, next).await;
    Ok(next.map_err(|_| ApiError::BodyTooSlow(chunk_timeout))??)
}
