//! The routes, with the requests and answers of each.
//!
//! - `batch`: `/images/batch`
//! - `by_filter`: `/images?filter=`, changes and deletions of many images
//! - `content`: `/images/{id}/content`
//! - `duplicates`: `/duplicates`
//! - `fields`: `/fields`, `/admin/fields`
//! - `health`: `/livez`, `/readyz`, `/info`, `/openapi.yaml`, `/docs`
//! - `images`: `/images`
//! - `jobs`: `/admin/jobs`
//! - `models`: `/admin/models`
//! - `overview`: `/labels`, `/codes`
//! - `page`: `/`, `/web`
//! - `search`: `/search`, `/encode`
//! - `snapshots`: `/admin/snapshots`, `/admin/digest`
//! - `static_files`: files built into the program, for `health` and `page`

pub mod batch;
pub mod by_filter;
pub mod content;
pub mod duplicates;
pub mod fields;
pub mod health;
pub mod images;
pub mod jobs;
pub mod models;
pub mod overview;
pub mod page;
pub mod search;
pub mod snapshots;
pub mod static_files;
