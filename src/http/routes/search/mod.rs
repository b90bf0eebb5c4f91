//! `POST /search` and `POST /encode`: their answers and handlers.
//! Knows neither how codes are made nor how they are probed; it times both.

pub mod parameters;

use std::{collections::BTreeMap, time::Instant};

use axum::{Json, Router, extract::State, routing::post};
use metrics::histogram;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::sleep;

use crate::{
    code::{HashCode, Length},
    http::{
        error::ApiError,
        extract::{OfModel, Params, Subject, TimedBody},
        middleware::trace::millis,
        routes::content::content_url,
        state::{AppState, CHANGE, CHANGES, Coded, WhenFull},
    },
    image::Part,
    index::{ImageId, IndexError, Match, Order, Query, Sketch},
    inference::serving::Served,
    model::{Output, Relation, Thresholds},
    telemetry::INDEX_SECONDS,
};

use parameters::{EncodeParams, Ordered, SearchParams};

const WITHOUT: &str = "the image has no codes of the active model, since its original could not be read when codes were made; store it again";
pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/search", post(search))
        .route("/encode", post(encode))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoParams {}

#[derive(Serialize)]
struct SearchAnswer {
    query: Asked,
    total: u64,
    complete: bool,
    matches: Vec<Near>,
    timing_ms: SearchTiming,
}

#[derive(Serialize)]
struct Asked {
    code: HashCode,
    bits: Length,
    r#box: Option<[f64; 4]>,
    radius: Option<u64>,
    order: Ordered,
    min_similarity: Option<f32>,
    sketch: Option<Sketch>,
    model: String,
}

#[derive(Serialize)]
struct Near {
    id: ImageId,
    distance: u32,
    similarity: Option<f32>,
    relation: Option<Relation>,
    code: HashCode,
    labels: Vec<String>,
    payload: Option<Value>,
    content_url: String,
}

#[derive(Serialize)]
struct SearchTiming {
    #[serde(flatten)]
    encoding: Encoding,
    index: f64,
    total: f64,
}

#[derive(Serialize)]
struct EncodeAnswer {
    codes: BTreeMap<Length, HashCode>,
    sketch: Option<Sketch>,
    model: String,
    timing_ms: EncodeTiming,
}

#[derive(Serialize)]
struct EncodeTiming {
    #[serde(flatten)]
    encoding: Encoding,
    total: f64,
}

/// Zero where nothing had to be encoded.
#[derive(Default, Serialize)]
struct Encoding {
    decode: f64,
    queue: f64,
    inference: f64,
}

impl Encoding {
    fn of(coded: &Coded) -> Self {
        Encoding {
            decode: millis(coded.decode),
            queue: millis(coded.encoded.queue),
            inference: millis(coded.encoded.inference),
        }
    }
}

async fn search(
    State(state): State<AppState>,
    Params(params): Params<SearchParams>,
    TimedBody(subject, _held): TimedBody<Subject>,
) -> Result<Json<SearchAnswer>, ApiError> {
    let part = parameters::part(params.part.as_deref(), &subject)?;
    for _ in 0..CHANGES {
        let served = state.models().active;
        match search_in(&state, &served, &params, subject.clone(), part).await {
            // Its codes were let go of meanwhile, since other models are active now or soon.
            Err(ApiError::Index(IndexError::Generation { .. })) => sleep(CHANGE).await,
            answer => return answer.map(Json),
        }
    }
    Err(ApiError::NotReady)
}

/// Searches among the codes of one model by a code of its own.
async fn search_in(
    state: &AppState,
    served: &Served,
    params: &SearchParams,
    subject: Subject,
    part: Option<Part>,
) -> Result<SearchAnswer, ApiError> {
    let started = Instant::now();
    params.check(&served.card.lengths)?;
    let (Output { codes, sketch }, encoding) = output(state, served, subject, part).await?;
    let code = params.pick(&codes)?;
    let (bits, radius) = (code.length(), params.radius);
    if let Some(radius) = radius.filter(|&radius| radius > bits.bits() as u64) {
        let detail =
            format!("radius {radius} is out of range: 0 to {bits} for codes of {bits} bits");
        return Err(ApiError::Invalid("invalid_parameter", detail));
    }
    let order = params.order(sketch.as_ref())?;
    let query = Query {
        code,
        sketch: sketch.clone(),
        radius: radius.map(|radius| radius as u32),
        order: match order {
            Ordered::Distance => Order::Distance,
            Ordered::Similarity => Order::Similarity {
                candidates: params.candidates.map(|candidates| candidates as usize),
                least: params.min_similarity,
            },
        },
        limit: params.limit as usize,
        offset: usize::try_from(params.offset).unwrap_or(usize::MAX),
        labels: params.label.clone(),
        generation: Some(served.generation),
    };
    let searching = Instant::now();
    let found = state.read(move |index| index.search(&query)).await?;
    let index = searching.elapsed();
    histogram!(INDEX_SECONDS).record(index);
    Ok(SearchAnswer {
        query: Asked {
            code,
            bits,
            r#box: part.map(Part::into),
            radius,
            order,
            min_similarity: params.min_similarity,
            sketch,
            model: served.id.clone(),
        },
        total: found.total,
        complete: found.complete,
        matches: found
            .matches
            .into_iter()
            .map(|found| Near::of(found, served.card.thresholds))
            .collect(),
        timing_ms: SearchTiming {
            encoding,
            index: millis(index),
            total: millis(started.elapsed()),
        },
    })
}

async fn encode(
    State(state): State<AppState>,
    Params(params): Params<EncodeParams>,
    TimedBody(subject, _held): TimedBody<Subject>,
) -> Result<Json<EncodeAnswer>, ApiError> {
    let started = Instant::now();
    if let Subject::Code(..) = subject {
        let detail = "a code is encoded already; give `image` or `id`".to_owned();
        return Err(ApiError::Invalid("invalid_json", detail));
    }
    let part = parameters::part(params.part.as_deref(), &subject)?;
    let served = state.models().active;
    let (Output { codes, sketch }, encoding) = output(&state, &served, subject, part).await?;
    Ok(Json(EncodeAnswer {
        codes: by_length(codes),
        sketch,
        model: served.id.clone(),
        timing_ms: EncodeTiming {
            encoding,
            total: millis(started.elapsed()),
        },
    }))
}

/// All the codes of a subject, or of a part of its picture, by a model and its sketch, or the code that it is.
async fn output(
    state: &AppState,
    served: &Served,
    subject: Subject,
    part: Option<Part>,
) -> Result<(Output, Encoding), ApiError> {
    match subject {
        Subject::Image(bytes) => {
            let coded = state.encode(served, bytes, part, WhenFull::Refused).await?;
            let encoding = Encoding::of(&coded);
            Ok((coded.encoded.output, encoding))
        }
        Subject::Id(id) => {
            let name = id.to_string();
            let generation = Some(served.generation);
            let record = state.read(move |index| index.get_in(generation, &id));
            let record = record.await?.ok_or(ApiError::NoImage(name))?;
            if record.codes.is_empty() {
                return Err(ApiError::Invalid("image_without_codes", WITHOUT.to_owned()));
            }
            let output = Output {
                codes: record.codes,
                sketch: record.sketch,
            };
            Ok((output, Encoding::default()))
        }
        Subject::Code(_, Some(OfModel { model, .. })) if model != served.id => {
            let detail = format!(
                "the sketch is of model {model}, and the active one is {}; encode the image again",
                served.id
            );
            Err(ApiError::Invalid("other_model", detail))
        }
        Subject::Code(code, sketch) => {
            let output = Output {
                codes: vec![code],
                sketch: sketch.map(|of| of.sketch),
            };
            Ok((output, Encoding::default()))
        }
    }
}

/// Codes keyed by their length, as answers show them.
pub(crate) fn by_length(codes: Vec<HashCode>) -> BTreeMap<Length, HashCode> {
    codes
        .into_iter()
        .map(|code| (code.length(), code))
        .collect()
}

impl Near {
    fn of(found: Match, thresholds: Option<Thresholds>) -> Self {
        let related = |(similarity, thresholds): (f32, Thresholds)| thresholds.relation(similarity);
        Near {
            content_url: content_url(&found.record.id),
            id: found.record.id,
            distance: found.distance,
            similarity: found.similarity,
            relation: found.similarity.zip(thresholds).and_then(related),
            code: found.code,
            labels: found.record.labels,
            payload: found.record.payload,
        }
    }
}
