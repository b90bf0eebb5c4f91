//! `/labels` and `/codes`: counts of labels, and of images that share codes.

use axum::{Json, Router, extract::State, routing::get};
use serde::{Deserialize, Serialize};

use crate::{
    code::Length,
    http::{
        error::ApiError,
        extract::{
            Params,
            parameters::{PageSize, present_value},
        },
        routes::search::parameters::check_length,
        state::AppState,
    },
    index::{LabelCount, SharedCodes},
};

pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/labels", get(labels))
        .route("/codes", get(codes))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LabelParams {
    #[serde(default)]
    limit: PageSize,
}

#[derive(Serialize)]
struct Labels {
    labels: Vec<LabelCount>,
}

async fn labels(
    State(state): State<AppState>,
    Params(LabelParams {
        limit: PageSize(limit),
    }): Params<LabelParams>,
) -> Result<Json<Labels>, ApiError> {
    let labels = state.read(move |index| index.labels(limit)).await?;
    Ok(Json(Labels { labels }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CodeParams {
    #[serde(default, deserialize_with = "present_value")]
    bits: Option<Length>,
}

async fn codes(
    State(state): State<AppState>,
    Params(CodeParams { bits }): Params<CodeParams>,
) -> Result<Json<SharedCodes>, ApiError> {
    let active = state.models().active;
    let bits = bits.or(active.card.lengths.iter().max().copied());
    let bits = bits.unwrap_or(Length::L48);
    check_length(bits, &active.card.lengths)?;
    let sharing = state.read(move |index| index.sharing(bits)).await?;
    Ok(Json(sharing))
}
