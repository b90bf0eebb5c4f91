//! Two replicas under parallel writes, then searched in every order, page and filter. Both return
//! what a plain list does.

use std::fs;

use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use reqwest::Method;
use scihcgrl::{code::HashCode, index::Sketch};
use serde_json::{Value, json};

use super::{
    harness::cluster::Cluster,
    server::{self, TestServer, samples},
};

const LABELS: [&str; 3] = ["indoors", "bought", "old"];
/// Fewer photos than images, so that some images differ only in age.
const PHOTOS: usize = 12;
const IMAGES: usize = 40;

/// A stored image in the plain list.
struct Held {
    id: Value,
    labels: Vec<String>,
    codes: Value,
    sketch: Sketch,
}

/// The id, distance and similarity of a match.
type Shown = (Value, u32, Option<f32>);

struct Search {
    bits: &'static str,
    radius: Option<u32>,
    by_similarity: bool,
    candidates: Option<usize>,
    least: Option<f32>,
    label: Option<&'static str>,
    offset: usize,
    limit: usize,
}

impl Search {
    fn random(random: &mut ChaCha8Rng) -> Self {
        let by_similarity = random.random_bool(0.7);
        let sometimes = |random: &mut ChaCha8Rng| by_similarity && random.random_bool(0.4);
        Search {
            bits: ["24", "32", "48"].choose(random).unwrap(),
            radius: random.random_bool(0.5).then(|| random.random_range(0..24)),
            by_similarity,
            candidates: sometimes(random).then(|| random.random_range(1..IMAGES)),
            least: sometimes(random).then(|| random.random_range(-0.5..1.0)),
            label: LABELS
                .choose(random)
                .copied()
                .filter(|_| random.random_bool(0.4)),
            offset: random.random_range(0..IMAGES / 2),
            limit: random.random_range(1..IMAGES),
        }
    }

    fn path(&self) -> String {
        let Search {
            bits,
            offset,
            limit,
            ..
        } = self;
        let order = if self.by_similarity {
            "similarity"
        } else {
            "distance"
        };
        let mut path = format!("/search?bits={bits}&order={order}&offset={offset}&limit={limit}");
        let mut add = |name: &str, value: Option<String>| {
            path.extend(value.map(|value| format!("&{name}={value}")));
        };
        add("radius", self.radius.map(|radius| radius.to_string()));
        add("candidates", self.candidates.map(|count| count.to_string()));
        add("min_similarity", self.least.map(|least| least.to_string()));
        add("label", self.label.map(str::to_owned));
        path
    }

    /// Searches the plain list, which has the older images first; returns the total and the page.
    fn of(&self, images: &[Held], code: HashCode, sketch: &Sketch) -> (usize, Vec<Shown>) {
        let mut all: Vec<(u32, u64, Shown)> = Vec::new();
        for image in images {
            let own: HashCode = serde_json::from_value(image.codes[self.bits].clone()).unwrap();
            let distance = code.distance(&own).unwrap();
            let has_label = |label| image.labels.iter().any(|own| own == label);
            if self.radius.is_none_or(|radius| distance <= radius)
                && self.label.is_none_or(has_label)
            {
                let similarity = Some(sketch.similarity(&image.sketch));
                all.push((
                    distance,
                    own.word(),
                    (image.id.clone(), distance, similarity),
                ));
            }
        }
        all.sort_by_key(|(distance, word, _)| (*distance, *word));
        if self.by_similarity {
            let mut end = self.candidates.unwrap_or(all.len()).min(all.len());
            while end > 0 && end < all.len() && all[end].0 == all[end - 1].0 {
                end += 1;
            }
            let rest = all.split_off(end);
            all.sort_by(|(.., one), (.., other)| other.2.unwrap().total_cmp(&one.2.unwrap()));
            match self.least {
                Some(least) => all.retain(|(.., one)| one.2.unwrap() >= least),
                None => all.extend(rest),
            }
        }
        let total = all.len();
        let page = all.into_iter().skip(self.offset).take(self.limit);
        (total, page.map(|(.., shown)| shown).collect())
    }
}

/// Encodes a stored image at a replica.
async fn encoded(replica: &TestServer, id: &Value) -> Value {
    let encode = replica.client.post(replica.at("/encode"));
    let encode = encode.json(&json!({ "id": id })).send().await.unwrap();
    encode.error_for_status().unwrap().json().await.unwrap()
}

fn sketch(encoded: &Value) -> Sketch {
    serde_json::from_value(encoded["sketch"].clone()).unwrap()
}

/// Returns all images of a replica, oldest first.
async fn plain_list(replica: &TestServer) -> Vec<Held> {
    let (_, page) = replica.ask(Method::GET, "/images?limit=1000").await;
    let mut list = Vec::new();
    for image in page["images"].as_array().unwrap() {
        let encoded = encoded(replica, &image["id"]).await;
        list.push(Held {
            id: image["id"].clone(),
            labels: serde_json::from_value(image["labels"].clone()).unwrap(),
            codes: encoded["codes"].clone(),
            sketch: sketch(&encoded),
        });
    }
    list
}

/// Stores, labels and deletes images, each at a random replica.
async fn write(replicas: &[TestServer], writes: usize, random: &mut ChaCha8Rng) {
    let photos = samples("cat").into_iter().chain(samples("ship"));
    let photos: Vec<Vec<u8>> = photos
        .take(PHOTOS)
        .map(|file| fs::read(file).unwrap())
        .collect();
    let mut running = Vec::new();
    for _ in 0..writes {
        let replica = replicas.choose(random).unwrap();
        let id = random.random_range(0..IMAGES);
        let label = LABELS.choose(random).unwrap();
        let url = replica.at(&format!("/images/{id}?label={label}"));
        let request = match random.random_range(0..10) {
            0..7 => replica
                .client
                .put(url)
                .body(photos.choose(random).unwrap().clone()),
            7 => replica
                .client
                .patch(url)
                .json(&json!({ "labels": [label] })),
            _ => replica.client.delete(url),
        };
        running.push(tokio::spawn(request.send()));
    }
    for request in running {
        let status = request.await.unwrap().unwrap().status();
        assert!(status.is_success() || status == 404, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_answer_searches_as_a_plain_list_does() {
    let mut cluster = Cluster::empty();
    let replicas = [(); 2].map(|()| cluster.one_more("serve", &[]));
    cluster.replicas.extend(replicas);
    let mut random = ChaCha8Rng::seed_from_u64(24);
    for _ in 0..server::times(2, 20) {
        write(&cluster.replicas, 100, &mut random).await;
        cluster.settle().await;
        let images = plain_list(&cluster.replicas[0]).await;
        for _ in 0..60 {
            let query = encoded(
                &cluster.replicas[1],
                &images.choose(&mut random).unwrap().id,
            )
            .await;
            let search = Search::random(&mut random);
            let code: HashCode =
                serde_json::from_value(query["codes"][search.bits].clone()).unwrap();
            let (total, expected) = search.of(&images, code, &sketch(&query));
            let body = json!({ "code": code, "sketch": query["sketch"], "model": query["model"] });
            for replica in &cluster.replicas {
                let path = search.path();
                let found = replica
                    .client
                    .post(replica.at(&path))
                    .json(&body)
                    .send()
                    .await;
                let found: Value = found.unwrap().json().await.unwrap();
                let matches = found["matches"]
                    .as_array()
                    .unwrap_or_else(|| panic!("{path}: {found}"));
                let shown = |found: &Value| -> Shown {
                    let similarity = found["similarity"].as_f64().map(|of| of as f32);
                    (
                        found["id"].clone(),
                        found["distance"].as_u64().unwrap() as u32,
                        similarity,
                    )
                };
                let shown: Vec<Shown> = matches.iter().map(shown).collect();
                assert_eq!(
                    (&found["total"], &found["complete"]),
                    (&json!(total), &json!(true)),
                    "{path}"
                );
                assert_eq!(shown, expected, "{path}");
            }
        }
    }
}
