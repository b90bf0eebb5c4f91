//! What orchestrators ask: a service that is not ready, or drains, says so on every route but keeps its probes.
//! The router itself with real parts behind it, since a black box is ready too soon to be caught.

#![allow(clippy::unwrap_used)] // allow-unwrap: a test stops where it fails

mod server;

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    http::{Method, Request, StatusCode},
};
use scihcgrl::{
    batch::{BatchConfig, Batcher, Started},
    config::{Compute, Precision},
    gallery::{Gallery, Originals},
    http::{self, AppState, Keys, Parts},
    index::{self, Index, IndexConfig},
    model::Hasher,
};
use tower::ServiceExt;

async fn ask(router: &Router, method: Method, path: &str) -> (StatusCode, bool) {
    let request = Request::builder().method(method).uri(path);
    let request = request.body(Body::from("x")).unwrap();
    let answer = router.clone().oneshot(request).await.unwrap();
    (
        answer.status(),
        answer.headers().contains_key("retry-after"),
    )
}

#[tokio::test]
async fn a_service_that_is_not_ready_says_so_and_lives() {
    let folder = tempfile::tempdir().unwrap();
    let model = server::model(folder.path());
    let batching = BatchConfig {
        max_batch: 1,
        queue: 1,
        ..BatchConfig::default()
    };
    // As the service does it, outside of any runtime.
    let load = move || Hasher::load(&model, tch::Device::Cpu, tch::Kind::Float);
    let started = tokio::task::spawn_blocking(move || Batcher::start([load], batching));
    let Started {
        batcher,
        card,
        model_id,
        ..
    } = started.await.unwrap().unwrap();
    let index = Index::open(IndexConfig {
        path: folder.path().join("data"),
        model: model_id.clone(),
        precision: index::Precision::Rather("fp32".to_owned()),
        lengths: card.lengths.clone(),
        cache_bytes: 1 << 20,
    });
    let index = index.unwrap();
    let place = folder.path().join("originals").display().to_string();
    let originals = Originals::open(&place, index.id(), false).await.unwrap();
    let state = AppState::new(Parts {
        gallery: Gallery::new(index, originals).0,
        batcher,
        model_id,
        input_size: card.input_size,
        lengths: card.lengths,
        card: serde_json::Value::Null,
        max_body_bytes: 1 << 20,
        body_time: Duration::from_secs(1),
        compute: Compute {
            device: "cpu".to_owned(),
            precision: Precision::Fp32,
            threads: None,
        },
        keys: Keys::default(),
        cors_origins: Vec::new(),
    });
    let router = http::router(state.clone());
    let (get, post) = (Method::GET, Method::POST);
    for (ready, status) in [(false, 503), (true, 200), (false, 503)] {
        state.set_ready(ready);
        let (found, wait) = ask(&router, get.clone(), "/readyz").await;
        assert_eq!((found.as_u16(), wait), (status, !ready));
        assert_eq!(ask(&router, get.clone(), "/info").await.0, found);
        assert_eq!(ask(&router, get.clone(), "/livez").await.0, StatusCode::OK);
        let search = ask(&router, post.clone(), "/search").await.0.as_u16();
        assert_eq!(search, if ready { 415 } else { 503 });
    }
}
