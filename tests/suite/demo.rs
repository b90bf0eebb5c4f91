//! What a newcomer runs first: the demo on the default model and the sample gallery, then the smoke test against its service.
//! Holds the default model to what its card promises, roughly; codes do not depend on the company an image is encoded in.

use std::{fs, net::TcpListener, path::Path, process::Command};

use crate::server;
use scihcgrl::{image, model::Hasher};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The service that the demo left, killed whatever becomes of the test.
struct Left<'a>(&'a Path);

impl Drop for Left<'_> {
    fn drop(&mut self) {
        if let Ok(pid) = fs::read_to_string(self.0.join("pid")) {
            let _ = Command::new("kill").arg(pid.trim()).status();
        }
    }
}

#[test]
fn the_demo_finds_what_is_alike_and_leaves_a_service() {
    let run = tempfile::tempdir().unwrap();
    let _left = Left(run.path());
    // Free a moment ago; the demo takes a number, not a socket.
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port().to_string();
    drop(socket);
    let demo = || {
        let demo = Command::new(Path::new(ROOT).join("samples/demo.sh"))
            .env("PORT", &port)
            .env("RUN", run.path())
            .env("SCIHCGRL", env!("CARGO_BIN_EXE_scihcgrl"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&demo.stderr).into_owned();
        assert!(demo.status.success(), "{said}");
        String::from_utf8(demo.stdout).unwrap()
    };
    let first = demo();
    let second = demo();
    assert!(first.contains("stored 400 images"), "{first}");
    assert!(second.contains("400 were stored already"), "{second}");
    let summary = |told: &str| {
        let line = told.lines().find(|line| line.starts_with("200 queries: "));
        line.unwrap().to_owned()
    };
    assert_eq!(summary(&first), summary(&second));
    let numbers: Vec<f64> = summary(&first)
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let (right, shown) = (numbers[1], numbers[2]);
    assert!(shown > 1000.0 && right / shown > 0.8, "{first}");
    // Nothing else that is built or tested needs curl.
    if Command::new("curl").arg("--version").output().is_err() {
        println!("there is no curl here: the smoke test is left out");
        return;
    }
    let smoke = Command::new(Path::new(ROOT).join("tests/smoke.sh"))
        .arg(format!("http://127.0.0.1:{port}"))
        .output()
        .unwrap();
    let smoke = String::from_utf8_lossy(&smoke.stdout).into_owned();
    assert!(smoke.ends_with("37 passed, 0 failed\n"), "{smoke}");
}

#[test]
fn codes_are_the_same_alone_and_in_a_batch_of_64() {
    let model = Path::new(ROOT).join("models/cifar10.safetensors");
    let drawing = server::drawing();
    let hasher = Hasher::load(&model, tch::Device::Cpu, tch::Kind::Float).unwrap();
    drop(drawing);
    let pictures: Vec<_> = ["bird", "cat", "dog", "frog"]
        .iter()
        .flat_map(|class| (40..56).map(move |i| format!("samples/queries/{class}/{i:04}.jpg")))
        .map(|path| fs::read(Path::new(ROOT).join(path)).unwrap())
        .map(|bytes| image::decode(&bytes, hasher.card().input()).unwrap().pixels)
        .collect();
    let together = hasher.encode(&pictures.iter().collect::<Vec<_>>()).unwrap();
    assert_eq!(together.len(), 64);
    for (picture, together) in pictures.iter().zip(together) {
        let alone = hasher.encode(&[picture]).unwrap().remove(0);
        assert_eq!(alone.codes, together.codes);
        // The order of sums depends on the size of the batch, so a value halfway between two whole numbers is rounded to either.
        let [alone, together] = [alone, together].map(|output| output.sketch.unwrap());
        let mut values = alone.values().iter().zip(together.values());
        assert!(
            values.all(|(a, b)| a.abs_diff(*b) <= 1),
            "{alone:?} {together:?}"
        );
    }
}

/// Nobody labelled what the model for photographs learned from; even pictures of 32 pixels of one kind come near each other.
#[test]
fn the_model_for_photographs_finds_kinds_it_was_never_told() {
    let report = tempfile::NamedTempFile::new().unwrap();
    let evaluate = Command::new(env!("CARGO_BIN_EXE_scihcgrl"))
        .args(
            "evaluate --model models/photos.safetensors --data samples/queries --queries 50 --json"
                .split(' '),
        )
        .arg(report.path())
        .current_dir(ROOT)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&evaluate.stderr).into_owned();
    assert!(evaluate.status.success(), "{said}");
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(report.path()).unwrap()).unwrap();
    let map = report["quality"]["48"]["map"].as_f64().unwrap();
    println!("MAP at 48 bits {map:.3}");
    // By chance a tenth.
    assert!(map > 0.25, "{map}");
}
