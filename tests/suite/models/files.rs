//! Refuses model files whose card does not match their content, with a reason and before they cost
//! memory.

use std::{collections::HashMap, fs, path::Path};

use crate::server::{self, TestServer};
use reqwest::Method;
use safetensors::{SafeTensors, tensor::TensorView};
use scihcgrl::{
    model::{Card, Network, checkpoint},
    options::{BackboneKind, Cell, Policy},
};
use serde_json::{Value, json};

/// Returns a checkpoint with this card and the tensors of another file.
fn with_card(card: &Value, tensors: Vec<(String, TensorView)>) -> Vec<u8> {
    let metadata = HashMap::from([("scihcgrl".to_owned(), card.to_string())]);
    safetensors::serialize(tensors, &Some(metadata)).unwrap()
}

/// Returns the test model's card with some members changed.
fn card(changed: Value) -> Value {
    let mut card = serde_json::to_value(server::card()).unwrap();
    for (name, value) in changed.as_object().unwrap() {
        card[name] = value.clone();
    }
    card
}

/// Returns the peak memory of a server in MiB.
fn peak(server: &TestServer) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.process().id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.unwrap().trim().trim_end_matches(" kB");
    kilobytes.parse::<u64>().unwrap() / 1024
}

async fn refused(server: &TestServer, file: Vec<u8>) -> String {
    let request = server.client.post(server.at("/admin/models")).body(file);
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(
        (status.as_u16(), &problem["code"]),
        (422, &json!("invalid_model"))
    );
    problem["detail"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_small_file_is_refused_before_memory_is_allocated() {
    let server = TestServer::start().await;
    let before = peak(&server);
    for (changed, words) in [
        (
            json!({ "lengths": vec![24; 100], "hidden": 2048 }),
            "each once, ascending",
        ),
        (json!({ "lengths": [] }), "at least one length"),
        (
            json!({ "hidden": 8192 }),
            "`hidden` is 8192; it must be 1 to 2048",
        ),
        (
            json!({ "input_size": 2048 }),
            "`input_size` is 2048; it must be 32 to 512",
        ),
        (
            json!({ "passes": 17 }),
            "`passes` is 17; it must be 1 to 16",
        ),
        (json!({ "sketch": 9999 }), "`sketch` is 9999"),
        (
            json!({ "classes": ["a"] }),
            "3 hash centres of 24 bits for 1 classes",
        ),
        (
            json!({ "training": "x".repeat(2 << 20) }),
            "it must have at most 1048576",
        ),
        (json!({ "classifier": i64::MAX }), "is missing"),
        (json!({ "backbone": "vgg19" }), "is missing"),
        (
            json!({ "hidden": 2048, "cell": "independent" }),
            "is missing",
        ),
    ] {
        let detail = refused(&server, with_card(&card(changed), Vec::new())).await;
        assert!(detail.contains(words), "{words}: {detail}");
        let folder = server.folder.path().to_str().unwrap();
        assert!(
            !detail.contains(folder) && !detail.contains(".part"),
            "{detail}"
        );
    }
    let grown = peak(&server) - before;
    assert!(grown < 100, "{grown} MB");
}

/// Returns the file with the first value of one tensor replaced by NaN.
fn not_a_number(file: &Path) -> Vec<u8> {
    let mut bytes = fs::read(file).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let bias = file.tensor("policy.24.project_bias").unwrap().data();
    let offset = bias.as_ptr() as usize - bytes.as_ptr() as usize;
    bytes[offset..offset + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    bytes
}

#[tokio::test]
async fn weights_that_are_not_finite_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    server::model(folder.path());
    let broken = not_a_number(&server::second_model(folder.path()));
    let server = TestServer::start_in(folder, &[]);
    let detail = refused(&server, broken.clone()).await;
    let words = "tensor 'policy.24.project_bias' has a value that is not a finite number";
    assert!(detail.contains(words), "{detail}");
    // A model that an earlier program stored without this check.
    let id = "0123456789ab";
    let models = server.folder.path().join("data/models");
    fs::write(models.join(format!("{id}.safetensors")), broken).unwrap();
    let path = format!("/admin/models/{id}/activate");
    let (status, accepted) = server.ask(Method::POST, &path).await;
    assert_eq!(status, 202, "{accepted}");
    let job = server.wait_for_end(&accepted["job"]["id"]).await;
    assert_eq!(job["state"], "failed", "{job}");
    assert!(job["error"].as_str().unwrap().contains(words), "{job}");
}

#[test]
fn every_architecture_can_be_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let changed = |backbone, cell, classifier| Card {
        backbone,
        policy: Policy {
            cell,
            classifier,
            ..server::card().policy
        },
        ..server::card()
    };
    let lite = BackboneKind::EfficientnetLite0;
    for card in [
        changed(lite, Cell::Recurrent, Some(5)),
        changed(lite, Cell::Feedback, None),
        changed(lite, Cell::Independent, Some(5)),
        changed(lite, Cell::Linear, None),
        changed(BackboneKind::Vgg19, Cell::Recurrent, None),
    ] {
        let path = folder.path().join("model.safetensors");
        let network = Network::new(&card, tch::Device::Cpu).unwrap();
        checkpoint::save(&network, &card, &path).unwrap();
        let (read, _) = checkpoint::describe(&path).unwrap();
        assert_eq!(read.policy, card.policy);
    }
}
