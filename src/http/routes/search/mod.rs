//! `POST /search` and `POST /encode`, with the time that each step takes. `parameters` are those of
//! their queries.

pub mod parameters;

use std::{collections::BTreeMap, time::Instant};

use axum::{Json, Router, extract::State, routing::post};
use metrics::histogram;
use serde::Serialize;
use serde_json::Value;
use tokio::time::sleep;

use crate::{
    code::{HashCode, Length},
    http::{
        encode::{EncodedImage, WhenFull},
        error::ApiError,
        extract::{
            Params, TimedBody,
            filter::parse_filter,
            query_input::{ModelSketch, QueryInput, SearchBody},
        },
        middleware::trace::millis,
        routes::content::content_url,
        state::{AppState, MAX_RETRIES, RETRY_DELAY},
    },
    image::Part,
    index::{Filter, ImageId, IndexError, Match, Order, Query, Sketch},
    inference::serving::ServedModel,
    model::{Output, Relation, Thresholds},
    telemetry::INDEX_SECONDS,
};

use parameters::{EncodeParams, OrderParam, SearchParams};

const IMAGE_WITHOUT_CODES: &str = "the image has no codes of the active model, since its original could not be read when codes were made; store it again";

pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/search", post(search))
        .route("/encode", post(encode))
}

#[derive(Serialize)]
struct SearchAnswer {
    query: QueryAnswer,
    total: u64,
    complete: bool,
    matches: Vec<MatchAnswer>,
    timing_ms: SearchTiming,
}

#[derive(Serialize)]
struct QueryAnswer {
    code: HashCode,
    bits: Length,
    r#box: Option<[f64; 4]>,
    radius: Option<u64>,
    order: OrderParam,
    min_similarity: Option<f32>,
    sketch: Option<Sketch>,
    model: String,
}

#[derive(Serialize)]
struct MatchAnswer {
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
    encoding: EncodingTiming,
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
    encoding: EncodingTiming,
    total: f64,
}

/// In milliseconds; zero if nothing was encoded.
#[derive(Default, Serialize)]
struct EncodingTiming {
    decode: f64,
    queue: f64,
    inference: f64,
}

impl EncodingTiming {
    fn of(coded: &EncodedImage) -> Self {
        EncodingTiming {
            decode: millis(coded.decode),
            queue: millis(coded.encoded.queue),
            inference: millis(coded.encoded.inference),
        }
    }
}

async fn search(
    State(state): State<AppState>,
    Params(params): Params<SearchParams>,
    TimedBody(SearchBody { input, filter }, _meter): TimedBody<SearchBody>,
) -> Result<Json<SearchAnswer>, ApiError> {
    let part = parameters::part(params.part.as_deref(), &input)?;
    let filter = parse_filter(params.filter.as_deref(), filter.as_deref(), &params.label)?;
    let filter = filter.as_ref();
    for _ in 0..MAX_RETRIES {
        let served = state.models().active;
        match search_with_model(&state, &served, &params, input.clone(), part, filter).await {
            // Other models were activated, and the codes of this one deleted.
            Err(ApiError::Index(IndexError::Generation { .. })) => sleep(RETRY_DELAY).await,
            answer => return answer.map(Json),
        }
    }
    Err(ApiError::NotReady)
}

/// Searches the codes of one model.
async fn search_with_model(
    state: &AppState,
    served: &ServedModel,
    params: &SearchParams,
    input: QueryInput,
    part: Option<Part>,
    filter: Option<&Filter>,
) -> Result<SearchAnswer, ApiError> {
    let started = Instant::now();
    params.check(&served.card.lengths)?;
    let (Output { codes, sketch }, encoding) = codes_of(state, served, input, part).await?;
    let code = params.choose_code(&codes)?;
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
        radius: radius.map(|radius| u32::try_from(radius).unwrap_or(u32::MAX)),
        order: match order {
            OrderParam::Distance => Order::Distance,
            OrderParam::Similarity => Order::Similarity {
                candidates: params
                    .candidates
                    .map(|candidates| usize::try_from(candidates).unwrap_or(usize::MAX)),
                min_similarity: params.min_similarity,
            },
        },
        limit: usize::try_from(params.limit).unwrap_or(usize::MAX),
        offset: usize::try_from(params.offset).unwrap_or(usize::MAX),
        filter: filter.cloned(),
        generation: Some(served.generation),
    };
    let searching = Instant::now();
    let found = state.read(move |index| index.search(&query)).await?;
    let index = searching.elapsed();
    histogram!(INDEX_SECONDS).record(index);
    Ok(SearchAnswer {
        query: QueryAnswer {
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
            .map(|found| MatchAnswer::of(found, served.card.thresholds))
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
    TimedBody(input, _meter): TimedBody<QueryInput>,
) -> Result<Json<EncodeAnswer>, ApiError> {
    let started = Instant::now();
    if let QueryInput::Code(..) = input {
        let detail = "a code is already encoded; give `image` or `id`".to_owned();
        return Err(ApiError::Invalid("invalid_json", detail));
    }
    let part = parameters::part(params.part.as_deref(), &input)?;
    let served = state.models().active;
    let (Output { codes, sketch }, encoding) = codes_of(&state, &served, input, part).await?;
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

/// Returns the codes and the sketch of an input by a model: of its picture or a part of that, the
/// stored ones, or those given.
async fn codes_of(
    state: &AppState,
    served: &ServedModel,
    input: QueryInput,
    part: Option<Part>,
) -> Result<(Output, EncodingTiming), ApiError> {
    match input {
        QueryInput::Image(bytes) => {
            let coded = state
                .encoder()
                .encode(served, bytes, part, WhenFull::Refuse)
                .await?;
            let encoding = EncodingTiming::of(&coded);
            Ok((coded.encoded.output, encoding))
        }
        QueryInput::Id(id) => {
            let name = id.to_string();
            let generation = Some(served.generation);
            let record = state.read(move |index| index.get_in(generation, &id));
            let record = record.await?.ok_or(ApiError::NoImage(name))?;
            if record.codes.is_empty() {
                return Err(ApiError::Invalid(
                    "image_without_codes",
                    IMAGE_WITHOUT_CODES.to_owned(),
                ));
            }
            let output = Output {
                codes: record.codes,
                sketch: record.sketch,
            };
            Ok((output, EncodingTiming::default()))
        }
        QueryInput::Code(_, Some(ModelSketch { model, .. })) if model != served.id => {
            let detail = format!(
                "the sketch is of model {model}, but the active model is {}; encode the image again",
                served.id
            );
            Err(ApiError::Invalid("other_model", detail))
        }
        QueryInput::Code(code, sketch) => {
            let output = Output {
                codes: vec![code],
                sketch: sketch.map(|of| of.sketch),
            };
            Ok((output, EncodingTiming::default()))
        }
    }
}

/// Returns codes by their length, as answers show them.
pub(crate) fn by_length(codes: Vec<HashCode>) -> BTreeMap<Length, HashCode> {
    codes
        .into_iter()
        .map(|code| (code.length(), code))
        .collect()
}

impl MatchAnswer {
    fn of(found: Match, thresholds: Option<Thresholds>) -> Self {
        let related = |(similarity, thresholds): (f32, Thresholds)| thresholds.relation(similarity);
        MatchAnswer {
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
