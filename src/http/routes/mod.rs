//! TODO http::routes

pub mod asset;
pub mod batch;
pub mod content;
pub mod duplicates;
pub mod health;
pub mod images;
pub mod jobs;
pub mod models;
pub mod overview;
pub mod page;
pub mod search;
pub mod snapshots;
