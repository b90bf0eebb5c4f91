//! Adapting itself, in a process of its own: measures the model that is given, makes one of the same backbone for what the images show, and
//! measures that.
//! Knows a folder with the images; neither the gallery nor the service.

use std::{fs, path::Path};

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::{
    config::{Compute, Train},
    copies,
    jobs::{
        learning::{
            comparison::rounded,
            protocol::{
                BEFORE, MODEL, OUTCOME, PARENT, ProgressLine, TRAINED, Teller, tell, write,
            },
            training_set::MANIFEST,
        },
        options::Adapt,
    },
    model::{Hasher, Thresholds, checkpoint},
    train::{
        data::{Collection, Item},
        unlabelled,
    },
};

/// The most images that are searched when models are compared.
const GALLERY: usize = 5_000;
/// The most that are searched by: changed as copies are, and for what is near by features.
const COPIED: usize = 100;
const NEAR: usize = 500;
/// The highest rate of the heads.
const RATE: f64 = 3e-4;

/// Of so many images, how many are kept from training.
pub(crate) fn kept(images: usize, options: &Adapt) -> usize {
    ((images as f64 * options.validation_fraction).round() as usize).max(1)
}

/// Does what is left to do in the folder.
pub(crate) fn run(options: &Adapt, compute: &Compute) -> anyhow::Result<()> {
    let collection = Collection::of_manifest(Path::new(MANIFEST))?;
    let mut items: Vec<&Item> = collection.items.iter().collect();
    items.shuffle(&mut ChaCha8Rng::seed_from_u64(options.seed));
    let kept = kept(items.len(), options).min(items.len());
    let searched = &items[..items.len().min(GALLERY.max(kept))];
    let queries: Vec<usize> = (0..kept).collect();
    let measure = |model: &Path| -> anyhow::Result<(Value, Option<Thresholds>)> {
        tell(&ProgressLine {
            stage: "measure".to_owned(),
            ..ProgressLine::default()
        });
        let hasher = Hasher::start(model, compute)?;
        let asked = copies::Asked {
            items: searched,
            sets: &collection.sets,
            copied: &queries[..kept.min(COPIED)],
            kin: &queries[..kept.min(NEAR)],
            keep: None,
        };
        Ok(match copies::measure(&hasher, &asked)? {
            Some((figures, thresholds)) => (summary(&figures), Some(thresholds)),
            None => (json!({}), None),
        })
    };
    let file = Path::new;
    if !file(BEFORE).exists() {
        write(file(BEFORE), &measure(file(PARENT))?.0)?;
    }
    if !file(TRAINED).exists() {
        let mut config = Train::of::<&str>(&[])?;
        config.policy = checkpoint::card(file(PARENT))?.policy;
        config.warm_up_epochs = options.epochs;
        config.policy_rate = RATE;
        config.seed = options.seed;
        config.compute = compute.clone();
        let mut teller = Teller::new(config.batch_size);
        let learn = &items[kept..];
        unlabelled::adapt(file(PARENT), learn, file(MODEL), &config, &mut |progress| {
            teller.tell(&progress, None);
        })?;
        fs::rename(MODEL, TRAINED)?;
    }
    let (after, thresholds) = measure(file(TRAINED))?;
    let before: Value = serde_json::from_slice(&fs::read(BEFORE)?)?;
    let metrics = json!({
        "before": before, "after": after, "queries": kept, "training_images": items.len() - kept,
    });
    fs::copy(TRAINED, MODEL)?;
    checkpoint::record(file(MODEL), |card| {
        card.quality = metrics.clone();
        card.thresholds = thresholds;
    })?;
    write(file(OUTCOME), &metrics)
}

/// What two models are compared by: the share of copies that come first and among the first ten, the mean over all changes; and the share of
/// the ten nearest by features that are among the first ten and hundred, the mean over searches and codes alone.
fn summary(figures: &Value) -> Value {
    let near = figures["kin"].as_object().into_iter().flatten();
    let near = near.filter(|(name, _)| name.starts_with("agreement"));
    let near: Vec<f64> = near.filter_map(|(_, value)| value.as_f64()).collect();
    let agreement = near.iter().sum::<f64>() / near.len().max(1) as f64;
    json!({
        "copies_first": copies::mean(figures, "first"), "copies_first_ten": copies::mean(figures, "first_ten"),
        "agreement": rounded(agreement), "copy_threshold": figures["copy_threshold"], "copies": figures["copies"], "near": figures["kin"],
    })
}
