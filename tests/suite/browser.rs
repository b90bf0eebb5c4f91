//! The page, used in a real browser as people use it: tests/page/check.py has what they do, and what has to be seen then.
//! Knows how to start it, and makes a model with sketches for it; nothing of browsers.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use scihcgrl::model::{Card, Network, TONES, Thresholds, checkpoint};
use tch::{Device, Kind, Tensor};

use crate::server;

/// The demo's model with another sketch: its feature in random directions, so many that similarities are nearly those of the features. A copy of
/// half the size is a copy by its thresholds, and no other photograph is.
fn with_sketches(folder: &Path) -> PathBuf {
    const SKETCH: i64 = 512;
    let trained = server::root().join("models/cifar10.safetensors");
    let (trained, card, _) = checkpoint::load(&trained, Device::Cpu).unwrap();
    let card = Card {
        sketch: Some(SKETCH as usize),
        thresholds: Some(Thresholds {
            copy: 0.65,
            kin: Some(0.45),
        }),
        ..card
    };
    let network = Network::new(&card, Device::Cpu).unwrap();
    let (from, into) = (trained.variables.variables(), network.variables.variables());
    tch::no_grad(|| {
        for (name, value) in from.iter().filter(|(name, _)| !name.starts_with("sketch.")) {
            into[name].shallow_clone().copy_(value);
        }
    });
    let mean = &from["policy.feature_mean"];
    let options = (Kind::Float, Device::Cpu);
    let random = Tensor::randn([mean.size()[0], SKETCH - TONES as i64], options);
    let deviation = Tensor::ones([TONES as i64], options);
    network
        .sketcher
        .as_ref()
        .unwrap()
        .set(mean, &random, &deviation)
        .unwrap();
    let path = folder.join("sketches.safetensors");
    checkpoint::save(&network, &card, &path).unwrap();
    path
}

#[test]
fn people_find_teach_and_look_after_images_in_a_browser() {
    let folder = tempfile::tempdir().unwrap();
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let mut check = Command::new(python);
    check
        .env("MODEL_WITH_SKETCHES", with_sketches(folder.path()))
        .env(
            "MODEL_WITHOUT_SKETCHES",
            server::model_of_fixtures(folder.path()),
        )
        .env("PYTHONPATH", ".contract")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["tests/page/check.py", env!("CARGO_BIN_EXE_scihcgrl")]);
    let output = check.output();
    let output = output.unwrap_or_else(|error| panic!("{check:?}: {error}"));
    let [said, complaint] =
        [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    print!("{said}");
    assert!(output.status.success(), "{said}{complaint}");
}
