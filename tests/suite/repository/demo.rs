//! The demo on the default model and the sample gallery, then the smoke test against its service;
//! and the quality of the shipped models.

use std::{fs, net::TcpListener, path::Path, process::Command};

use crate::server;
use scihcgrl::{image, model::Hasher};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The service that the demo leaves running. It is killed at the end of the test, passed or not.
struct DemoService<'a>(&'a Path);

impl Drop for DemoService<'_> {
    fn drop(&mut self) {
        if let Ok(pid) = fs::read_to_string(self.0.join("pid")) {
            let _ = Command::new("kill").arg(pid.trim()).status();
        }
    }
}

#[test]
fn the_demo_finds_images_of_the_same_class_and_leaves_a_service() {
    let run = tempfile::tempdir().unwrap();
    let _service = DemoService(run.path());
    // The port may be taken again; the demo takes a number, not a socket.
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
        let stderr = String::from_utf8_lossy(&demo.stderr).into_owned();
        assert!(demo.status.success(), "{stderr}");
        String::from_utf8(demo.stdout).unwrap()
    };
    let first = demo();
    let second = demo();
    assert!(first.contains("stored 400 images"), "{first}");
    assert!(second.contains("400 were stored already"), "{second}");
    let summary = |stdout: &str| {
        let line = stdout
            .lines()
            .find(|line| line.starts_with("200 queries: "));
        line.unwrap().to_owned()
    };
    assert_eq!(summary(&first), summary(&second));
    let numbers: Vec<f64> = summary(&first)
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let (right, shown) = (numbers[1], numbers[2]);
    assert!(shown > 1000.0 && right / shown > 0.8, "{first}");
    // Only this test needs curl.
    if Command::new("curl").arg("--version").output().is_err() {
        println!("no curl: the smoke test is skipped");
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
    let generator = server::lock_generator();
    let hasher = Hasher::load(&model, tch::Device::Cpu, tch::Kind::Float).unwrap();
    drop(generator);
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
        // The order of sums depends on the size of the batch, so a value halfway between two
        // integers is rounded to either.
        let [alone, together] = [alone, together].map(|output| output.sketch.unwrap());
        let mut values = alone.values().iter().zip(together.values());
        assert!(
            values.all(|(a, b)| a.abs_diff(*b) <= 1),
            "{alone:?} {together:?}"
        );
    }
}

/// The model for photographs learned without labels. Even pictures of 32 pixels of one kind get
/// similar codes.
#[test]
fn the_model_for_photographs_finds_kinds_without_labels() {
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
    let stderr = String::from_utf8_lossy(&evaluate.stderr).into_owned();
    assert!(evaluate.status.success(), "{stderr}");
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(report.path()).unwrap()).unwrap();
    let map = report["quality"]["48"]["map"].as_f64().unwrap();
    println!("MAP at 48 bits {map:.3}");
    // By chance .1.
    assert!(map > 0.25, "{map}");
}
