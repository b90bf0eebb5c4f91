//! Finds copies among enough images that it takes seconds, and cancels the job or kills its service
//! midway. The index is filled directly.

use std::{future::ready, path::Path};

use futures_util::{StreamExt, TryStreamExt, stream};
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use reqwest::Method;
use scihcgrl::{
    code::{HashCode, Length},
    index::{Codes, Index, IndexConfig, NewImage, Requirement, Sketch},
};
use serde_json::Value;

use super::{begin, find, groups, store};
use crate::server::{self, TestServer};

/// The bytes of a sketch. Wide sketches take longer to compare.
const SKETCH_BYTES: usize = 1024;
const IMAGES: usize = 16_000;
/// In every interval of this many images, the second is a copy of the first.
const COPY_INTERVAL: usize = 2_000;

fn id(number: usize) -> String {
    format!("made-{number}")
}

/// An image without a picture, dissimilar to all others except its copy.
fn image(number: usize) -> NewImage {
    let is_copy = number % COPY_INTERVAL == 1;
    let mut random = ChaCha8Rng::seed_from_u64((number - usize::from(is_copy)) as u64);
    let mut values = vec![0; SKETCH_BYTES];
    random.fill_bytes(&mut values);
    let values = values.into_iter().map(|value| value as i8);
    NewImage {
        id: id(number).parse().unwrap(),
        codes: vec![Codes {
            generation: 1,
            codes: Length::ALL
                .map(|length| HashCode::from_word(length, random.next_u64()))
                .to_vec(),
            sketch: Some(Sketch::from_values(values.collect()).unwrap()),
        }],
        labels: Vec::new(),
        payload: None,
        media_type: "image/jpeg".to_owned(),
        bytes: 0,
        original: None,
        times: None,
    }
}

/// Adds the images to the store of a stopped service.
async fn fill(data: &Path, model: &str) {
    let index = Index::open(IndexConfig {
        path: data.to_owned(),
        model: Requirement::Exact(model.to_owned()),
        precision: Requirement::Preferred("fp32".to_owned()),
        lengths: Length::ALL.to_vec(),
        sketch: Some(SKETCH_BYTES),
        sketch_storage: None,
        gallery: None,
        cache_bytes: 64 << 20,
    })
    .unwrap();
    let puts = stream::iter(0..IMAGES).map(|number| index.put(image(number)));
    let stored = puts.buffer_unordered(1024);
    stored.try_for_each(|_| ready(Ok(()))).await.unwrap();
    index.close().unwrap();
}

/// Waits until a job has compared some images.
async fn midway(server: &TestServer, job: &Value) {
    let path = format!("/admin/jobs/{}", job["id"].as_str().unwrap());
    server::eventually("images are compared", async || {
        let (_, job) = server.ask(Method::GET, &path).await;
        let waits = ["queued", "running"].contains(&job["state"].as_str().unwrap());
        assert!(waits, "the job ended too soon for this test: {job}");
        (job["progress"]["step"].as_u64() > Some(0)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_or_killed_job_keeps_the_previous_groups() {
    let folder = tempfile::tempdir().unwrap();
    server::model_with_sketches(folder.path(), SKETCH_BYTES);
    let server = TestServer::start_in(folder, &[]);
    store(&server, &[("first", 0), ("second", 0)]).await;
    find(&server).await;
    let duplicates = async |server: &TestServer| server.ask(Method::GET, "/duplicates").await.1;
    let before = duplicates(&server).await;
    let older = vec![(2, vec!["first", "second"])];
    assert_eq!(groups(&before), older);
    let (_, info) = server.ask(Method::GET, "/info").await;
    let folder = server.kill();
    fill(
        &folder.path().join("data"),
        info["model_id"].as_str().unwrap(),
    )
    .await;

    let server = TestServer::start_in(folder, &[]);
    let job = begin(&server).await;
    midway(&server, &job).await;
    let cancel = format!("/admin/jobs/{}/cancel", job["id"].as_str().unwrap());
    let (status, _) = server.ask(Method::POST, &cancel).await;
    assert!(status.is_success(), "{status}");
    let job = server.wait_for_end(&job["id"]).await;
    assert_eq!(job["state"], "cancelled", "{job}");
    let now = duplicates(&server).await;
    assert_eq!(groups(&now), older);
    assert_eq!(
        (&now["commit"], &now["stale"]),
        (&before["commit"], &Value::Bool(true))
    );

    let job = begin(&server).await;
    midway(&server, &job).await;
    let server = TestServer::start_in(server.kill(), &[]);
    let job = server.wait_for_end(&job["id"]).await;
    assert_eq!(
        (&job["state"], &job["resumed"]),
        (&"succeeded".into(), &1.into()),
        "{job}"
    );
    let now = duplicates(&server).await;
    assert_eq!(now["stale"], false);
    let mut found = groups(&now);
    found.iter_mut().for_each(|(_, ids)| ids.sort_unstable());
    found.sort_unstable();
    let made: Vec<[String; 2]> = (0..IMAGES)
        .step_by(COPY_INTERVAL)
        .map(|first| [id(first), id(first + 1)])
        .collect();
    let made = made
        .iter()
        .map(|ids| (2, ids.iter().map(String::as_str).collect()));
    let mut expected: Vec<_> = older.into_iter().chain(made).collect();
    expected.sort_unstable();
    assert_eq!(found, expected);
}
