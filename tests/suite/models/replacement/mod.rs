//! Replaces the model of a live gallery: searches continue, no search mixes the models, and kills
//! do no harm (`kills`). The models themselves compute the expected codes.

mod kills;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Cursor,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use crate::server::{self, TestServer};
use ::image::{ImageFormat, RgbImage};
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use reqwest::{Client, Method, StatusCode};
use scihcgrl::{
    config::Precision,
    image::{self, Input},
    model::Hasher,
};
use serde_json::{Value, json};

/// The number of pictures.
const PICTURES: usize = 48;

/// Returns a PNG file, a different one for each number.
fn picture(number: usize) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(number as u64);
    let mut pixels = vec![0; 24 * 24 * 3];
    rng.fill_bytes(&mut pixels);
    // Blocks of colour, because a small network separates them better than noise.
    let tint: [u8; 3] = rng.random();
    for (at, value) in pixels.iter_mut().enumerate() {
        *value = *value / 4 + tint[at % 3] / 4 * 3;
    }
    let mut bytes = Cursor::new(Vec::new());
    let picture = RgbImage::from_raw(24, 24, pixels).unwrap();
    picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// The longest code of every picture under each of two models, by model id.
struct Known {
    ids: [String; 2],
    codes: BTreeMap<String, Vec<String>>,
}

impl Known {
    /// Writes two models into a folder and computes the codes.
    fn make(folder: &Path) -> Self {
        let files = [server::model(folder), server::second_model(folder)];
        // The precision that a service chooses for a new folder.
        let kind = match scihcgrl::model::preferred_precision("cpu").unwrap() {
            Precision::Bf16 => tch::Kind::BFloat16,
            _ => tch::Kind::Float,
        };
        let decoded = |number| {
            image::decode(&picture(number), Input::stretched(64))
                .unwrap()
                .pixels
        };
        let pictures: Vec<_> = (0..PICTURES).map(decoded).collect();
        let mut codes = BTreeMap::new();
        let ids = files.map(|file| {
            let _generator = server::lock_generator();
            let hasher = Hasher::load(&file, tch::Device::Cpu, kind).unwrap();
            let code = |pixels| hasher.encode(&[pixels]).unwrap()[0].codes[2].to_string();
            codes.insert(hasher.id().to_owned(), pictures.iter().map(code).collect());
            hasher.id().to_owned()
        });
        Known { ids, codes }
    }

    /// Returns those pictures among `of` that have the same code as `number` under a model.
    fn same(&self, model: &str, number: usize, of: &BTreeSet<usize>) -> BTreeSet<String> {
        let codes = &self.codes[model];
        let same = of.iter().filter(|other| codes[**other] == codes[number]);
        same.map(|other| name(*other)).collect()
    }
}

fn name(number: usize) -> String {
    format!("picture-{number}")
}

async fn put(client: &Client, url: &str, number: usize) -> StatusCode {
    let address = format!("{url}/images/{}?label=a", name(number));
    client
        .put(address)
        .body(picture(number))
        .send()
        .await
        .unwrap()
        .status()
}

/// Searches at distance 0 of a picture; returns the model and the ids. Asserts that all codes are
/// that model's.
async fn search(
    client: &Client,
    url: &str,
    number: usize,
    known: &Known,
) -> (String, BTreeSet<String>) {
    let address = format!("{url}/search?radius=0&limit=1000");
    let answer = client
        .post(address)
        .body(picture(number))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let answer: Value = answer.json().await.unwrap();
    let model = answer["query"]["model"].as_str().unwrap().to_owned();
    assert_eq!(answer["query"]["code"], known.codes[&model][number]);
    let matches = answer["matches"].as_array().unwrap();
    assert_eq!(answer["total"], matches.len());
    for found in matches {
        assert_eq!(found["code"], answer["query"]["code"]);
    }
    let ids = matches
        .iter()
        .map(|found| found["id"].as_str().unwrap().to_owned());
    (model, ids.collect())
}

async fn state(server: &TestServer, model: &str) -> Value {
    let (status, model) = server
        .ask(Method::GET, &format!("/admin/models/{model}"))
        .await;
    assert_eq!(status, 200);
    model["state"].clone()
}

/// Uploads the second model.
async fn upload(server: &TestServer) -> Value {
    let file = fs::read(server.folder.path().join("another.safetensors")).unwrap();
    let added = server
        .client
        .post(server.at("/admin/models"))
        .body(file)
        .send()
        .await
        .unwrap();
    assert_eq!(added.status(), 201);
    added.json().await.unwrap()
}

async fn activate(server: &TestServer, model: &str) -> (StatusCode, Value) {
    server
        .ask(Method::POST, &format!("/admin/models/{model}/activate"))
        .await
}

#[tokio::test]
async fn a_model_is_replaced_without_a_gap_in_searches() {
    let folder = tempfile::tempdir().unwrap();
    let known = Arc::new(Known::make(folder.path()));
    let server = TestServer::start_in(folder, &[]);
    let [old, new] = known.ids.clone();
    let stored: BTreeSet<usize> = (0..PICTURES - 8).collect();
    for &number in &stored {
        assert_eq!(put(&server.client, &server.url, number).await, 201);
    }
    let added = upload(&server).await;
    assert_eq!(
        (&added["id"], &added["state"]),
        (&json!(new), &json!("stored"))
    );

    // Searches and writes run throughout. Searches ignore the written pictures.
    let (stop, searches) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    // The model of each searcher's last search.
    let last = Arc::new(Mutex::new([const { String::new() }; 3]));
    let searchers = (0..3).map(|searcher| {
        let (client, url, last) = (server.client.clone(), server.url.clone(), last.clone());
        let (known, stop, searches) = (known.clone(), stop.clone(), searches.clone());
        let stored = stored.clone();
        tokio::spawn(async move {
            let (mut seen, mut number) = (Vec::new(), searcher);
            while !stop.load(Ordering::Relaxed) {
                number = (number + 7) % stored.len();
                let (model, mut found) = search(&client, &url, number, &known).await;
                found.retain(|id| !id.starts_with("picture-4"));
                let mut same = known.same(&model, number, &stored);
                same.retain(|id| !id.starts_with("picture-4"));
                assert_eq!(found, same);
                last.lock().unwrap()[searcher].clone_from(&model);
                if seen.last() != Some(&model) {
                    seen.push(model);
                }
                searches.fetch_add(1, Ordering::Relaxed);
            }
            seen
        })
    });
    let searchers: Vec<_> = searchers.collect();
    let writer = {
        let (client, url, stop) = (server.client.clone(), server.url.clone(), stop.clone());
        tokio::spawn(async move {
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                let status = put(&client, &url, PICTURES - 8 + count % 8).await;
                assert!(status.is_success(), "{status}");
                count += 1;
            }
            count
        })
    };

    let seen_by_all = async |model: &String| {
        let what = format!("all search by {model}");
        let all = async || {
            let last = last.lock().unwrap();
            last.iter().all(|last| last == model).then_some(())
        };
        server::eventually(&what, all).await;
    };
    seen_by_all(&old).await;
    let (status, accepted) = activate(&server, &new).await;
    assert_eq!(status, 202, "{accepted}");
    let (_, again) = activate(&server, &new).await;
    assert_eq!(again["job"]["id"], accepted["job"]["id"]);
    let id = &accepted["job"]["id"];
    let events = format!("/admin/jobs/{}/events", id.as_str().unwrap());
    let events_text = server
        .client
        .get(server.at(&events))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let happened: Vec<&str> = events_text
        .lines()
        .filter_map(|line| line.strip_prefix("event: "))
        .collect();
    assert_eq!(
        (happened[0], *happened.last().unwrap()),
        ("queued", "succeeded"),
        "{events_text}"
    );
    let after = server
        .client
        .get(server.at(&events))
        .header("last-event-id", "1");
    let after = after.send().await.unwrap().text().await.unwrap();
    assert!(
        events_text.ends_with(&after) && !after.contains("event: queued"),
        "{after}"
    );
    let job = server.wait_for_end(id).await;
    assert_eq!(
        (&job["state"], &job["result"]["uncoded_count"]),
        (&json!("succeeded"), &json!(0))
    );
    assert_eq!(state(&server, &new).await, "active");
    assert_eq!(state(&server, &old).await, "standby");

    // Switch back and forth, with writes in between.
    seen_by_all(&new).await;
    for model in [&old, &new] {
        let started = Instant::now();
        let (status, answer) = activate(&server, model).await;
        println!(
            "the other model was active after {:?}: {status}",
            started.elapsed()
        );
        if status == 202 {
            assert_eq!(
                server.wait_for_end(&answer["job"]["id"]).await["state"],
                "succeeded"
            );
        }
        assert_eq!(state(&server, model).await, "active");
        seen_by_all(model).await;
    }
    stop.store(true, Ordering::Relaxed);
    for searcher in searchers {
        // Each searcher saw the models in this order.
        let seen = searcher.await.unwrap();
        assert_eq!(seen.iter().collect::<Vec<_>>(), [&old, &new, &old, &new]);
    }
    println!(
        "{} searches and {} writes at the same time",
        searches.load(Ordering::Relaxed),
        writer.await.unwrap()
    );
    let all: BTreeSet<usize> = (0..PICTURES).collect();
    for number in 0..PICTURES {
        let (model, found) = search(&server.client, &server.url, number, &known).await;
        assert_eq!((&model, found), (&new, known.same(&new, number, &all)));
    }

    // A model in use cannot be deleted; one without codes can.
    let path = format!("/admin/models/{old}");
    let (status, refused) = server.ask(Method::DELETE, &path).await;
    assert_eq!(
        (status.as_u16(), &refused["code"]),
        (409, &json!("model_in_use"))
    );
    assert_eq!(
        server.ask(Method::DELETE, &format!("{path}/codes")).await.0,
        204
    );
    assert_eq!(server.ask(Method::DELETE, &path).await.0, 204);
    assert_eq!(server.ask(Method::GET, &path).await.0, 404);
    let (status, _) = server
        .ask(Method::DELETE, &format!("/admin/models/{new}"))
        .await;
    assert_eq!(status, 409);
    let content = server
        .client
        .get(server.at(&format!("/admin/models/{new}/content")));
    let content = content.send().await.unwrap().bytes().await.unwrap();
    assert_eq!(
        content,
        fs::read(server.folder.path().join("another.safetensors")).unwrap()
    );
}

#[tokio::test]
async fn images_without_originals_are_listed_and_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let known = Known::make(folder.path());
    let server = TestServer::start_in(folder, &[]);
    for number in 0..10 {
        put(&server.client, &server.url, number).await;
    }
    let files = server::original_files(&server.folder.path().join("data/originals"));
    assert_eq!(files.len(), 10);
    fs::remove_file(&files[2]).unwrap();
    let size = fs::metadata(&files[5]).unwrap().len() as usize;
    fs::write(&files[5], vec![b'x'; size]).unwrap();
    upload(&server).await;
    let (_, accepted) = activate(&server, &known.ids[1]).await;
    let job = server.wait_for_end(&accepted["job"]["id"]).await;
    assert_eq!(
        (&job["state"], &job["result"]["uncoded_count"]),
        (&json!("succeeded"), &json!(2))
    );
    println!("{}", job["result"]["uncoded"]);
    let left_out = job["result"]["uncoded"].as_array().unwrap();
    let info = server.client.get(server.at("/info")).send().await.unwrap();
    let info: Value = info.json().await.unwrap();
    assert_eq!(
        (&info["index"]["images"], &info["index"]["uncoded"]),
        (&json!(10), &json!(2))
    );
    for image in left_out {
        let id = image["id"].as_str().unwrap();
        assert!(!image["reason"].as_str().unwrap().is_empty());
        let (status, record) = server.ask(Method::GET, &format!("/images/{id}")).await;
        assert_eq!((status.as_u16(), &record["codes"]), (200, &json!({})));
        let search = server
            .client
            .post(server.at("/search"))
            .json(&json!({ "id": id }));
        let refused: Value = search.send().await.unwrap().json().await.unwrap();
        assert_eq!(refused["code"], "image_without_codes");
        // After it is stored again it is found again.
        let number = id.strip_prefix("picture-").unwrap().parse().unwrap();
        assert_eq!(put(&server.client, &server.url, number).await, 200);
    }
    let all: BTreeSet<usize> = (0..10).collect();
    for number in 0..10 {
        let (model, found) = search(&server.client, &server.url, number, &known).await;
        assert_eq!(found, known.same(&model, number, &all));
    }
}
