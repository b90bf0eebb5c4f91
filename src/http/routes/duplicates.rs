//! `/duplicates`: the groups of copies that a job found, and the group of one image.

use std::sync::Arc;

use axum::{Json, Router, extract::State, routing::get};
use serde::{Deserialize, Serialize};

use crate::{
    gallery::GalleryError,
    http::{
        error::ApiError,
        extract::{
            Id, Params,
            filter::parse_filter,
            parameters::{PageSize, present_value, whole_number},
        },
        routes::content::content_url,
        state::AppState,
    },
    index::{Copies, CopyGroup, Filter, ImageId, Index, IndexError, Record},
    jobs::JobError,
};

/// Maximum number of copies shown of each group in a list of groups.
const MAX_COPIES_SHOWN: usize = 10;

pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/duplicates", get(list))
        .route("/duplicates/{id}", get(group_of))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PageParams {
    #[serde(default, deserialize_with = "present_value")]
    filter: Option<String>,
    #[serde(default)]
    label: Vec<String>,
    #[serde(default, deserialize_with = "whole_number")]
    offset: u64,
    #[serde(default)]
    limit: PageSize,
}

impl PageParams {
    /// Returns the offset and the limit.
    fn page(&self) -> (usize, usize) {
        let first = usize::try_from(self.offset).unwrap_or(usize::MAX);
        (first, self.limit.0)
    }

    /// The filter that images must pass to be in a group.
    fn filter(&self) -> Result<Option<Filter>, ApiError> {
        parse_filter(self.filter.as_deref(), None, &self.label)
    }
}

/// A page of groups, with figures of all groups.
#[derive(Serialize)]
struct Groups {
    model: String,
    commit: u64,
    stale: bool,
    found_at_ms: u64,
    min_similarity: f32,
    images: u64,
    copies: usize,
    total: usize,
    groups: Vec<GroupAnswer>,
}

impl Groups {
    fn of(index: &Index, copies: &Copies, groups: Vec<CopyGroup>) -> Self {
        Groups {
            model: copies.model.clone(),
            commit: copies.commit,
            stale: copies.commit != index.commit(),
            found_at_ms: copies.found_at_ms,
            min_similarity: copies.min_similarity,
            images: copies.images,
            copies: copies.copies(),
            total: copies.len(),
            groups: groups.into_iter().map(GroupAnswer::from).collect(),
        }
    }
}

#[derive(Serialize)]
struct GroupAnswer {
    images: usize,
    oldest: Image,
    copies: Vec<CopyAnswer>,
}

#[derive(Serialize)]
struct CopyAnswer {
    similarity: f32,
    #[serde(flatten)]
    image: Image,
}

#[derive(Serialize)]
struct Image {
    id: ImageId,
    labels: Vec<String>,
    content_url: String,
}

impl From<Record> for Image {
    fn from(record: Record) -> Self {
        Image {
            content_url: content_url(&record.id),
            id: record.id,
            labels: record.labels,
        }
    }
}

impl From<CopyGroup> for GroupAnswer {
    fn from(group: CopyGroup) -> Self {
        let copies = group.copies.into_iter();
        GroupAnswer {
            images: group.images,
            oldest: group.oldest.into(),
            copies: copies
                .map(|(record, similarity)| CopyAnswer {
                    similarity,
                    image: record.into(),
                })
                .collect(),
        }
    }
}

async fn list(
    State(state): State<AppState>,
    Params(params): Params<PageParams>,
) -> Result<Json<Groups>, ApiError> {
    let (first, limit) = params.page();
    let groups = read(&state, params.filter()?, move |index, copies| {
        let groups = index.groups(copies, first, limit, MAX_COPIES_SHOWN)?;
        Ok(Groups::of(index, copies, groups))
    });
    Ok(Json(groups.await?))
}

async fn group_of(
    State(state): State<AppState>,
    Id(id): Id,
    Params(params): Params<PageParams>,
) -> Result<Json<Groups>, ApiError> {
    let (first, limit) = params.page();
    let none = ApiError::NoGroup(id.to_string());
    let group = read(&state, params.filter()?, move |index, copies| {
        let group = index.group_of(copies, &id, first, limit)?;
        Ok(group.map(|group| Groups::of(index, copies, vec![group])))
    });
    group.await?.map(Json).ok_or(none)
}

/// Reads the newest groups, among the images that pass the filter, if they are of a model whose
/// sketches still exist.
async fn read<T: Send + 'static>(
    state: &AppState,
    filter: Option<Filter>,
    read: impl FnOnce(&Index, &Copies) -> Result<T, IndexError> + Send + 'static,
) -> Result<T, ApiError> {
    let found = state.parts().jobs.duplicates().await;
    let found: Option<Arc<Copies>> = found.map_err(without_job)?;
    if let Some(copies) = found {
        let answer = async {
            let copies = match filter {
                Some(filter) => {
                    let among = state.parts().jobs.duplicates_among(&copies, &filter).await;
                    among.map_err(without_job)?
                }
                None => copies,
            };
            state.read(move |index| read(index, &copies)).await
        };
        match answer.await {
            // The model's generation was deleted.
            Err(ApiError::Index(IndexError::Generation { .. })) => {}
            answer => return answer,
        }
    }
    let active = state.models().active;
    match active.card.copy() {
        Some(_) => Err(ApiError::NoGroups),
        None => Err(ApiError::Job(JobError::NoThresholds {
            model: active.id.clone(),
        })),
    }
}

fn without_job(error: JobError) -> ApiError {
    match error {
        JobError::Gallery(GalleryError::Index(source)) => source.into(),
        JobError::Gallery(source) => source.into(),
        error => ApiError::Job(error),
    }
}
