//! Probes of a service that is not ready or is draining: other routes respond with 503, and probes
//! work. Uses the router itself, because a real server becomes ready too fast.

use crate::server;
use std::time::Duration;

use axum::{
    Router,
    body::Body,
    http::{Method, Request, StatusCode},
};
use scihcgrl::{
    config::{Compute, Precision},
    gallery::{Gallery, Originals},
    http::{self, AppState, BasePath, Budget, Keys, Origins, Parts},
    index::{self, Index, IndexConfig},
    inference::batch::BatchConfig,
    inference::registry::Registry,
    inference::serving::{Serving, ServingConfig},
    jobs::{Jobs, JobsConfig},
    snapshots::Snapshots,
};
use tower::ServiceExt;

async fn ask(router: &Router, method: Method, path: &str) -> (StatusCode, bool) {
    let request = Request::builder().method(method).uri(path);
    let request = request.header("host", "localhost");
    let request = request.body(Body::from("x")).unwrap();
    let answer = router.clone().oneshot(request).await.unwrap();
    (
        answer.status(),
        answer.headers().contains_key("retry-after"),
    )
}

#[tokio::test]
async fn a_service_that_is_not_ready_answers_503_and_stays_live() {
    let folder = tempfile::tempdir().unwrap();
    let model = server::model(folder.path());
    let batching = BatchConfig {
        max_batch: 1,
        queue: 1,
        ..BatchConfig::default()
    };
    // As the service does, outside of any runtime.
    let registry = Registry::open(folder.path().join("models")).unwrap();
    let entry = {
        let _generator = server::lock_generator();
        registry.add(&model).unwrap()
    };
    let index = Index::open(IndexConfig {
        path: folder.path().join("data"),
        model: index::Requirement::Exact(entry.id),
        precision: index::Requirement::Preferred("fp32".to_owned()),
        lengths: entry.card.lengths,
        sketch: entry.card.sketch,
        sketch_storage: None,
        gallery: None,
        cache_bytes: 1 << 20,
    });
    let index = index.unwrap();
    let compute = Compute {
        device: "cpu".to_owned(),
        precision: Precision::Fp32,
        threads: None,
    };
    let config = ServingConfig { compute, batching };
    let opened = index.clone();
    let started = tokio::task::spawn_blocking(move || {
        let _generator = server::lock_generator();
        Serving::start(opened, registry, config, None)
    });
    let serving = started.await.unwrap().unwrap();
    let place = folder.path().join("originals").display().to_string();
    let originals = Originals::open(&place, index.id(), false).await.unwrap();
    let gallery = Gallery::new(index, originals).0;
    let jobs = JobsConfig {
        folder: folder.path().join("jobs"),
        threads: None,
        gpu_memory: 0.5,
    };
    let snapshots = folder.path().join("snapshots").display().to_string();
    let registry = serving.registry().clone();
    let state = AppState::new(Parts {
        snapshots: Snapshots::open(&snapshots, gallery.clone(), registry).unwrap(),
        jobs: Jobs::open(gallery.clone(), serving.clone(), jobs, None)
            .await
            .unwrap(),
        gallery,
        replica: None,
        trims_log: false,
        serving,
        max_body_bytes: 1 << 20,
        budget: Budget::new(64 << 20),
        body_timeout: Duration::from_secs(1),
        keys: Keys::default(),
        origins: Origins::default(),
        base: BasePath::default(),
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
