//! Fine-tuning: measures the parent model, trains a new one from it, and measures that.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::ensure;
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::{
    config::{Compute, Train},
    copies::{self, TestSet},
    jobs::{
        error::JobError,
        learning::{
            process::{
                comparison::{Split, of_each_class, quality},
                progress::{ProgressReporter, print, write},
            },
            protocol::{BEFORE, MANIFEST, MODEL, OUTCOME, PARENT, ProgressLine, TRAINED},
        },
        options::FineTune,
    },
    model::{Hasher, Thresholds, checkpoint},
    train::{
        self,
        data::{self, Item},
        objective::reinforce::Reinforce,
        unlabelled::{self, MIN_IMAGES},
    },
};

/// The model with a new sketch, until it is complete.
const SKETCHED: &str = "sketched.safetensors";

/// Maximum numbers of queries and of searched images per class, when models are compared and after
/// an epoch.
const FULL_SAMPLE: (usize, usize) = (100, 500);
const EPOCH_SAMPLE: (usize, usize) = (20, 100);
/// Maximum number of queries whose copies are searched for.
const MAX_COPY_QUERIES: usize = 20;
/// Maximum number of training images that a new sketch is made from.
const MAX_SKETCH_IMAGES: usize = 2_000;

/// Performs the remaining steps in the folder.
pub(crate) fn run(options: &FineTune, compute: &Compute) -> anyhow::Result<()> {
    let (parent, folder) = (Path::new(PARENT), Path::new("."));
    let collection = data::open(&folder.join(MANIFEST))?;
    let split = Split::of(&collection, options);
    ensure!(
        !split.held_out.is_empty() && !split.training.is_empty(),
        JobError::TooFew
    );
    let known: BTreeSet<String> = checkpoint::read_card(parent)?.classes.into_iter().collect();
    let measure = |model: &Path, limits: (usize, usize)| -> anyhow::Result<(Value, Hasher)> {
        let hasher = Hasher::load_with(model, compute)?;
        let queries = of_each_class(&collection, &split.held_out, limits.0);
        let database = of_each_class(&collection, &split.training, limits.1);
        let figures = quality(&hasher, &collection, &known, (&queries, &database), options)?;
        Ok((figures, hasher))
    };
    let measure_all = |model: &Path| -> anyhow::Result<(Value, Option<Thresholds>)> {
        print(&ProgressLine {
            stage: "measure".to_owned(),
            ..ProgressLine::default()
        });
        let (mut figures, hasher) = measure(model, FULL_SAMPLE)?;
        let queries = of_each_class(&collection, &split.held_out, FULL_SAMPLE.0);
        let copied: Vec<usize> = (0..queries.len().min(MAX_COPY_QUERIES)).collect();
        let test_set = TestSet {
            items: &queries,
            sets: &collection.sets,
            copied: &copied,
            kin: &copied,
            save_to: None,
        };
        let found = copies::measure(&hasher, &test_set)?;
        let thresholds = found.map(|(copies, thresholds)| {
            figures["copies_first"] = copies::mean_over_changes(&copies, "first");
            thresholds
        });
        Ok((figures, thresholds))
    };
    let file = |name: &str| folder.join(name);
    if !file(BEFORE).exists() {
        write(&file(BEFORE), &measure_all(parent)?.0)?;
    }
    if !file(TRAINED).exists() {
        let out = file(MODEL);
        let config = config(options, compute)?;
        let mut reporter = ProgressReporter::new(config.batch_size);
        train::train_on(
            &collection,
            Some(&split.training),
            &out,
            &config,
            &Reinforce::from(&config),
            false,
            &mut |progress| {
                let map = progress.validation.is_some().then(|| {
                    let measured = measure(&out, EPOCH_SAMPLE);
                    measured.map_or(Value::Null, |(measured, _)| measured["all"].clone())
                });
                reporter.report(&progress, map);
            },
        )?;
        // The parent's sketch was made for its backbone.
        let learned = split
            .training
            .iter()
            .map(|&number| &collection.items[number]);
        let mut learned: Vec<&Item> = learned.collect();
        learned.shuffle(&mut ChaCha8Rng::seed_from_u64(options.seed));
        learned.truncate(MAX_SKETCH_IMAGES);
        let is_outdated = config.epochs > 0 && checkpoint::read_card(&out)?.sketch.is_some();
        if is_outdated && learned.len() >= MIN_IMAGES {
            let report = &mut |progress| reporter.report(&progress, None);
            unlabelled::add_sketch(&out, &learned, &file(SKETCHED), &config, report)?;
            fs::rename(file(SKETCHED), &out)?;
        }
        fs::rename(&out, file(TRAINED))?;
    }
    let (after, thresholds) = measure_all(&file(TRAINED))?;
    let before: Value = serde_json::from_slice(&fs::read(file(BEFORE))?)?;
    let metrics = json!({
        "before": before, "after": after, "queries": split.held_out.len(), "training_images": split.training.len(),
    });
    fs::copy(file(TRAINED), file(MODEL))?;
    checkpoint::update_card(&file(MODEL), |card| {
        card.quality = metrics.clone();
        card.thresholds = thresholds;
    })?;
    write(&file(OUTCOME), &metrics)
}

/// Returns the options of training.
fn config(options: &FineTune, compute: &Compute) -> anyhow::Result<Train> {
    let card = checkpoint::read_card(Path::new(PARENT))?;
    let mut config = Train::of::<&str>(&[])?;
    config.architecture = card.backbone;
    config.policy = card.policy;
    config.input_size = card.input_size;
    config.resize = card.resize;
    config.lengths = card.lengths;
    config.start = Some(PARENT.into());
    config.warm_up_epochs = options.warm_up_epochs;
    config.epochs = if options.train_backbone {
        options.epochs
    } else {
        0
    };
    config.batch_size = options.batch_size;
    config.policy_rate = options.learning_rate;
    config.backbone_rate = options.backbone_rate.unwrap_or(0.6 * options.learning_rate);
    config.reinforce_weight = options.reinforce_weight;
    config.global_weight = options.global_weight;
    config.augment = options.augment;
    config.seed = options.seed;
    // The held-out images are not among the training images already.
    config.validation_fraction = 0.0;
    config.compute = compute.clone();
    Ok(config)
}
