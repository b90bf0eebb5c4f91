//! `POST /images/batch`: many images in one form, each stored as it comes and answered for itself.
//! Knows the form's order and what of it may be under way at once; storing is `images`' work.

use axum::{
    Json, Router,
    extract::{
        DefaultBodyLimit, Multipart, State,
        multipart::{Field, MultipartRejection},
    },
    http::StatusCode,
    routing::post,
};
use bytes::{Bytes, BytesMut};
use serde::Serialize;
use serde_json::Value;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{
    error::{ApiError, Problem},
    extract::{Params, Upload, json, unknown_field},
    images::{Image, PutParams, keep},
    state::{AppState, Turn},
};
use crate::index::{Expected, ImageId};

/// How many images of one form are under way at once; the form is read no faster than they are done.
const AT_ONCE: usize = 32;
/// The most images of one form; the answer has a line for each.
const MOST: usize = 10_000;
/// The most bytes of a field that is not an image.
const MAX_TEXT_BYTES: usize = 64 << 10;

pub(super) fn routes() -> Router<AppState> {
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
}

async fn store(
    State(state): State<AppState>,
    Params(params): Params<PutParams>,
    form: Result<Multipart, MultipartRejection>,
) -> Result<Json<Answer>, ApiError> {
    let form = form?;
    let mut batch = Batch {
        state,
        params,
        items: Vec::new(),
        running: JoinSet::new(),
    };
    let read = batch.read(form).await;
    // Whatever ended the form, what came before it is stored when the answer goes out.
    batch.settle(0).await?;
    read?;
    let items = batch.items;
    if items.is_empty() {
        let detail = "the form has no field `image`".to_owned();
        return Err(ApiError::Invalid("missing_image", detail));
    }
    let failed = items.iter().filter(|item| item.problem.is_some()).count();
    let stored = items.len() - failed;
    Ok(Json(Answer {
        stored,
        failed,
        items,
    }))
}

/// A form that is read, with what became of its images so far.
struct Batch {
    state: AppState,
    params: PutParams,
    items: Vec<Item>,
    running: JoinSet<(usize, Outcome)>,
}

impl Batch {
    async fn read(&mut self, mut form: Multipart) -> Result<(), ApiError> {
        let mut said = Said::default();
        while let Some(mut field) = form.next_field().await? {
            match field.name().unwrap_or_default() {
                "id" => said.id = Some(text(&mut field).await?),
                "labels" => said.labels.push(text(&mut field).await?),
                "payload" => said.payload = Some(json(&text(&mut field).await?)?),
                "image" => {
                    if self.items.len() == MOST {
                        let detail = format!("a form has at most {MOST} images; send more forms");
                        return Err(ApiError::Invalid("invalid_form", detail));
                    }
                    self.items.push(Item {
                        file: field.file_name().map(str::to_owned),
                        ..Item::default()
                    });
                    let bytes = bytes(&mut field, self.state.max_body_bytes()).await?;
                    let one = one(
                        self.state.clone(),
                        self.params.clone(),
                        std::mem::take(&mut said),
                        bytes,
                    );
                    let at = self.items.len() - 1;
                    self.running.spawn(async move { (at, one.await) });
                    self.settle(AT_ONCE - 1).await?;
                }
                other => return Err(unknown_field(other, &["id", "labels", "payload", "image"])),
            }
        }
        Ok(())
    }

    /// Waits until no more than so many images are under way.
    async fn settle(&mut self, left: usize) -> Result<(), ApiError> {
        while self.running.len() > left {
            let Some(done) = self.running.join_next().await else {
                break;
            };
            let (at, outcome) = done.map_err(ApiError::internal)?;
            if let Some(item) = self.items.get_mut(at) {
                item.take(outcome);
            }
        }
        Ok(())
    }
}

/// One image's outcome: what is kept of it and whether it is new.
type Outcome = Result<(Image, bool), ApiError>;

async fn one(state: AppState, params: PutParams, said: Said, image: Option<Bytes>) -> Outcome {
    let id: ImageId = match said.id {
        Some(id) => id.parse()?,
        None => Uuid::now_v7().to_string().parse()?,
    };
    let upload = Upload {
        image: image.ok_or(ApiError::BodyTooLarge)?,
        labels: said.labels,
        payload: said.payload,
    };
    let anything = Expected::default();
    let kept = keep(&state, id, params, upload, anything, Turn::Waits).await;
    kept.map(|(record, created)| (record.into(), created))
}

impl Item {
    fn take(&mut self, outcome: Outcome) {
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
    }
}

/// A field's bytes; none where there are more than are read. The rest of it is passed over, so that what comes after it is read.
async fn bytes(field: &mut Field<'_>, most: usize) -> Result<Option<Bytes>, ApiError> {
    let (mut read, mut fits) = (BytesMut::new(), true);
    while let Some(chunk) = field.chunk().await? {
        fits &= read.len() + chunk.len() <= most;
        if fits {
            read.extend_from_slice(&chunk);
        } else {
            read = BytesMut::new();
        }
    }
    Ok(fits.then(|| read.freeze()))
}

async fn text(field: &mut Field<'_>) -> Result<String, ApiError> {
    let bytes = bytes(field, MAX_TEXT_BYTES).await?;
    let bytes = bytes.ok_or_else(|| {
        let detail = format!("a field has more than {MAX_TEXT_BYTES} bytes");
        ApiError::Invalid("invalid_form", detail)
    })?;
    String::from_utf8(bytes.into())
        .map_err(|_| ApiError::Invalid("invalid_form", "a field is not UTF-8".to_owned()))
}
