//! `POST /search` and `POST /encode`: their parameters, answers and handlers.
//! Knows neither how codes are made nor how they are probed; it times both.

use std::{collections::BTreeMap, time::Instant};

use axum::{Json, Router, extract::State, routing::post};
use metrics::histogram;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    content::content_url,
    error::ApiError,
    extract::{InTime, OfModel, Params, Subject, given, number_given, whole, whole_given},
    millis,
    state::{AppState, Coded, Turn},
};
use crate::{
    code::{HashCode, Length},
    index::{ImageId, IndexError, Match, Order, Query, Sketch},
    model::Output,
    serving::Served,
    telemetry::INDEX_SECONDS,
};

const WITHOUT: &str = "the image has no codes of the active model, since its original could not be read when codes were made; store it again";
/// The most matches in one answer.
const MAX_LIMIT: u64 = 1000;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/search", post(search))
        .route("/encode", post(encode))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SearchParams {
    #[serde(default, deserialize_with = "given")]
    bits: Option<Length>,
    #[serde(default, deserialize_with = "whole_given")]
    radius: Option<u64>,
    #[serde(default, deserialize_with = "given")]
    order: Option<Ordered>,
    #[serde(default, deserialize_with = "whole_given")]
    candidates: Option<u64>,
    #[serde(default, deserialize_with = "number_given")]
    min_similarity: Option<f32>,
    #[serde(default = "default_limit", deserialize_with = "whole")]
    limit: u64,
    #[serde(default, deserialize_with = "whole")]
    offset: u64,
    #[serde(default)]
    label: Vec<String>,
}

/// By what matches are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Ordered {
    Similarity,
    Distance,
}

fn default_limit() -> u64 {
    10
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoParams {}

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
    radius: Option<u64>,
    order: Ordered,
    sketch: Option<Sketch>,
    model: String,
}

#[derive(Serialize)]
struct Near {
    id: ImageId,
    distance: u32,
    similarity: Option<f32>,
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
    InTime(subject): InTime<Subject>,
) -> Result<Json<SearchAnswer>, ApiError> {
    loop {
        let served = state.models().active;
        match search_in(&state, &served, &params, subject.clone()).await {
            // Its codes were let go of meanwhile, since other models are active now.
            Err(ApiError::Index(IndexError::Generation { .. })) => continue,
            answer => return answer.map(Json),
        }
    }
}

/// Searches among the codes of one model by a code of its own.
async fn search_in(
    state: &AppState,
    served: &Served,
    params: &SearchParams,
    subject: Subject,
) -> Result<SearchAnswer, ApiError> {
    let started = Instant::now();
    params.check(&served.card.lengths)?;
    let (Output { codes, sketch }, encoding) = output(state, served, subject).await?;
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
            radius,
            order,
            sketch,
            model: served.id.clone(),
        },
        total: found.total,
        complete: found.complete,
        matches: found.matches.into_iter().map(Near::from).collect(),
        timing_ms: SearchTiming {
            encoding,
            index: millis(index),
            total: millis(started.elapsed()),
        },
    })
}

async fn encode(
    State(state): State<AppState>,
    Params(NoParams {}): Params<NoParams>,
    InTime(subject): InTime<Subject>,
) -> Result<Json<EncodeAnswer>, ApiError> {
    let started = Instant::now();
    if let Subject::Code(..) = subject {
        let detail = "a code is encoded already; give `image` or `id`".to_owned();
        return Err(ApiError::Invalid("invalid_json", detail));
    }
    let served = state.models().active;
    let (Output { codes, sketch }, encoding) = output(&state, &served, subject).await?;
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

impl SearchParams {
    /// What can be told before anything is decoded.
    fn check(&self, lengths: &[Length]) -> Result<(), ApiError> {
        let limit = self.limit;
        if !(1..=MAX_LIMIT).contains(&limit) {
            let detail = format!("limit {limit} is out of range: 1 to {MAX_LIMIT}");
            return Err(ApiError::Invalid("invalid_parameter", detail));
        }
        let most = Order::MOST as u64;
        if let Some(candidates) = self.candidates.filter(|count| !(1..=most).contains(count)) {
            let detail = format!("candidates {candidates} is out of range: 1 to {most}");
            return Err(ApiError::Invalid("invalid_parameter", detail));
        }
        if let Some(least) = self
            .min_similarity
            .filter(|least| !(-1.0..=1.0).contains(least))
        {
            let detail = format!("min_similarity {least} is out of range: -1 to 1");
            return Err(ApiError::Invalid("invalid_parameter", detail));
        }
        self.bits.map_or(Ok(()), |bits| check_length(bits, lengths))
    }

    /// The order of the matches: by similarity where there is a sketch to compare with, unless it is to be by distance.
    fn order(&self, sketch: Option<&Sketch>) -> Result<Ordered, ApiError> {
        let by_similarity = ["order=similarity", "candidates", "min_similarity"];
        let asked = [
            self.order == Some(Ordered::Similarity),
            self.candidates.is_some(),
            self.min_similarity.is_some(),
        ];
        let asked = by_similarity
            .into_iter()
            .zip(asked)
            .find(|(_, asked)| *asked);
        match (sketch, self.order, asked) {
            (Some(_), None | Some(Ordered::Similarity), _) => Ok(Ordered::Similarity),
            (_, _, None) => Ok(Ordered::Distance),
            (Some(_), Some(Ordered::Distance), Some((what, _))) => Err(ApiError::Invalid(
                "invalid_parameter",
                format!("{what} is for order=similarity, and the order asked for is by distance"),
            )),
            (None, _, Some((what, _))) => Err(ApiError::Invalid(
                "no_sketch",
                format!(
                    "{what} needs a sketch: the active model makes none, the image has none, or `sketch` and `model` are missing beside `code`"
                ),
            )),
        }
    }

    /// The code to search by: of `bits`, or else 48, or else the longest there is.
    fn pick(&self, codes: &[HashCode]) -> Result<HashCode, ApiError> {
        let wanted = match self.bits {
            Some(bits) => codes.iter().find(|code| code.length() == bits),
            None => codes.iter().max_by_key(|code| code.length()),
        };
        wanted.copied().ok_or_else(|| {
            let found = codes.first().map_or(0, |code| code.length().bits());
            let detail =
                format!("the code given has {found} bits, not those of the parameter bits");
            ApiError::Invalid("invalid_code", detail)
        })
    }
}

/// Refuses a length that a model makes no codes of.
pub(super) fn check_length(bits: Length, lengths: &[Length]) -> Result<(), ApiError> {
    if lengths.contains(&bits) {
        return Ok(());
    }
    let there = lengths.iter().map(Length::to_string).collect::<Vec<_>>();
    let detail = format!(
        "the model makes no codes of {bits} bits, only of {}",
        there.join(", ")
    );
    Err(ApiError::Invalid("invalid_parameter", detail))
}

/// All the codes of a subject by a model and its sketch, or the code that it is.
async fn output(
    state: &AppState,
    served: &Served,
    subject: Subject,
) -> Result<(Output, Encoding), ApiError> {
    match subject {
        Subject::Image(bytes) => {
            let coded = state.encode(served, bytes, Turn::Refused).await?;
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
pub(super) fn by_length(codes: Vec<HashCode>) -> BTreeMap<Length, HashCode> {
    codes
        .into_iter()
        .map(|code| (code.length(), code))
        .collect()
}

impl From<Match> for Near {
    fn from(found: Match) -> Self {
        Near {
            content_url: content_url(&found.record.id),
            id: found.record.id,
            distance: found.distance,
            similarity: found.similarity,
            code: found.code,
            labels: found.record.labels,
            payload: found.record.payload,
        }
    }
}
