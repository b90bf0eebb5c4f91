//! Adaptation: measures the parent model, trains one with the same backbone without labels, and
//! measures that.

use std::{fs, path::Path};

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::{
    config::{Compute, Train},
    copies,
    jobs::{
        learning::{
            process::progress::{ProgressReporter, print, rounded, write},
            protocol::{BEFORE, MANIFEST, MODEL, OUTCOME, PARENT, ProgressLine, TRAINED},
        },
        options::Adapt,
    },
    model::{Hasher, Thresholds, checkpoint},
    train::{
        data::{Collection, Item},
        unlabelled,
    },
};

/// Maximum number of images that are searched when models are compared.
const MAX_GALLERY: usize = 5_000;
/// Maximum numbers of queries: for copies, and for the nearest images by features.
const MAX_COPY_QUERIES: usize = 100;
const MAX_NEIGHBOUR_QUERIES: usize = 500;
/// The highest learning rate of the heads.
const LEARNING_RATE: f64 = 3e-4;

/// Performs the remaining steps in the folder.
pub(crate) fn run(options: &Adapt, compute: &Compute) -> anyhow::Result<()> {
    let collection = Collection::from_manifest(Path::new(MANIFEST))?;
    let mut items: Vec<&Item> = collection.items.iter().collect();
    items.shuffle(&mut ChaCha8Rng::seed_from_u64(options.seed));
    let held_out = options.held_out(items.len()).min(items.len());
    let searched = &items[..items.len().min(MAX_GALLERY.max(held_out))];
    let queries: Vec<usize> = (0..held_out).collect();
    let measure = |model: &Path| -> anyhow::Result<(Value, Option<Thresholds>)> {
        print(&ProgressLine {
            stage: "measure".to_owned(),
            ..ProgressLine::default()
        });
        let hasher = Hasher::load_with(model, compute)?;
        let test_set = copies::TestSet {
            items: searched,
            sets: &collection.sets,
            copied: &queries[..held_out.min(MAX_COPY_QUERIES)],
            kin: &queries[..held_out.min(MAX_NEIGHBOUR_QUERIES)],
            save_to: None,
        };
        Ok(match copies::measure(&hasher, &test_set)? {
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
        config.policy = checkpoint::read_card(file(PARENT))?.policy;
        config.warm_up_epochs = options.epochs;
        config.policy_rate = LEARNING_RATE;
        config.seed = options.seed;
        config.compute = compute.clone();
        let mut reporter = ProgressReporter::new(config.batch_size);
        let learn = &items[held_out..];
        unlabelled::adapt(file(PARENT), learn, file(MODEL), &config, &mut |progress| {
            reporter.report(&progress, None);
        })?;
        fs::rename(MODEL, TRAINED)?;
    }
    let (after, thresholds) = measure(file(TRAINED))?;
    let before: Value = serde_json::from_slice(&fs::read(BEFORE)?)?;
    let metrics = json!({
        "before": before, "after": after, "queries": held_out, "training_images": items.len() - held_out,
    });
    fs::copy(TRAINED, MODEL)?;
    checkpoint::update_card(file(MODEL), |card| {
        card.quality = metrics.clone();
        card.thresholds = thresholds;
    })?;
    write(file(OUTCOME), &metrics)
}

/// Returns the figures by which two models are compared: the share of copies that come first and
/// among the first ten, the mean over all changes; and the share of the ten nearest by features
/// that are among the first ten and hundred, the mean over full searches and over codes alone.
fn summary(figures: &Value) -> Value {
    let near = figures["kin"].as_object().into_iter().flatten();
    let near = near.filter(|(name, _)| name.starts_with("agreement"));
    let near: Vec<f64> = near.filter_map(|(_, value)| value.as_f64()).collect();
    let agreement = near.iter().sum::<f64>() / near.len().max(1) as f64;
    json!({
        "copies_first": copies::mean_over_changes(figures, "first"), "copies_first_ten": copies::mean_over_changes(figures, "first_ten"),
        "agreement": rounded(agreement), "copy_threshold": figures["copy_threshold"], "copies": figures["copies"], "near": figures["kin"],
    })
}
