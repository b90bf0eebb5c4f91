//! What a job learns, in a process of its own; for fine-tuning: measures the model that is given, trains on from it, measures what came of it.
//! Knows a folder with the task and the images, where it goes on when it was cut off; neither the gallery nor the service.

use std::{collections::BTreeSet, env, fs, io::Read, path::Path, process, thread};

use anyhow::{Context, ensure};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::jobs::learning::protocol::{Task, tell, write};
use crate::{
    config::{Compute, Train},
    copies::{self, Asked},
    jobs::{
        error::JobError,
        learning::{
            adapting,
            comparison::{Parts, of_each_class, quality},
            protocol::{BEFORE, MODEL, OUTCOME, PARENT, ProgressLine, TASK, TRAINED, Teller},
            training_set::MANIFEST,
        },
        options::FineTune,
    },
    model::{Hasher, Thresholds, checkpoint},
    priority::Rank,
    train::{
        self,
        data::{self, Item},
        reinforce::Reinforce,
        unlabelled::{self, FEWEST},
    },
};

/// The model with a new sketch, before it is whole.
const SKETCHED: &str = "sketched.safetensors";

/// Of each class, the most images that are searched for and searched among when models are compared, and after an epoch.
const FULL: (usize, usize) = (100, 500);
const AT_EPOCH: (usize, usize) = (20, 100);
/// Of the images that are searched for, how many are also changed as copies are.
const COPIED: usize = 20;
/// Of the images that are learned from, at most so many make a new sketch.
const SKETCHED_FROM: usize = 2_000;

/// Does the task in a folder. With `attended` it ends when its standard input does, as it does when whoever started it is gone.
///
/// # Errors
/// What stopped it, in words that whoever asked for it can act on.
pub fn run(folder: &Path, compute: &Compute, attended: bool) -> anyhow::Result<()> {
    if attended {
        thread::spawn(|| {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            process::exit(1);
        });
    }
    Rank::Job.take();
    be_the_first_to_go();
    // Names are the same wherever the folder is, so that what was begun in one is gone on with in another.
    env::set_current_dir(folder)
        .with_context(|| format!("there is no folder {}", folder.display()))?;
    let task = fs::read(TASK).context("the task cannot be read")?;
    let task: Task = serde_json::from_slice(&task).context("the task is malformed")?;
    match &task {
        Task::FineTune(options) => fine_tune(options, compute),
        Task::Adapt(options) => adapting::run(options, compute),
    }
}

/// Does what is left to do in the folder.
fn fine_tune(options: &FineTune, compute: &Compute) -> anyhow::Result<()> {
    let (parent, folder) = (Path::new(PARENT), Path::new("."));
    let collection = data::open(&folder.join(MANIFEST))?;
    let parts = Parts::of(&collection, options);
    ensure!(
        !parts.held_out.is_empty() && !parts.training.is_empty(),
        JobError::TooFew
    );
    let known: BTreeSet<String> = checkpoint::card(parent)?.classes.into_iter().collect();
    let measure = |model: &Path, most: (usize, usize)| -> anyhow::Result<(Value, Hasher)> {
        let hasher = Hasher::start(model, compute)?;
        let queries = of_each_class(&collection, &parts.held_out, most.0);
        let database = of_each_class(&collection, &parts.training, most.1);
        let figures = quality(&hasher, &collection, &known, (&queries, &database), options)?;
        Ok((figures, hasher))
    };
    let measure_all = |model: &Path| -> anyhow::Result<(Value, Option<Thresholds>)> {
        tell(&ProgressLine {
            stage: "measure".to_owned(),
            ..ProgressLine::default()
        });
        let (mut figures, hasher) = measure(model, FULL)?;
        let queries = of_each_class(&collection, &parts.held_out, FULL.0);
        let copied: Vec<usize> = (0..queries.len().min(COPIED)).collect();
        let asked = Asked {
            items: &queries,
            sets: &collection.sets,
            copied: &copied,
            kin: &copied,
            keep: None,
        };
        let found = copies::measure(&hasher, &asked)?;
        let thresholds = found.map(|(copies, thresholds)| {
            figures["copies_first"] = copies::mean(&copies, "first");
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
        let mut teller = Teller::new(config.batch_size);
        train::train_on(
            &collection,
            Some(&parts.training),
            &out,
            &config,
            &Reinforce::from(&config),
            false,
            &mut |progress| {
                let map = progress.validation.is_some().then(|| {
                    let measured = measure(&out, AT_EPOCH);
                    measured.map_or(Value::Null, |(measured, _)| measured["all"].clone())
                });
                teller.tell(&progress, map);
            },
        )?;
        // The old sketch is of the old backbone.
        let learned = parts
            .training
            .iter()
            .map(|&number| &collection.items[number]);
        let mut learned: Vec<&Item> = learned.collect();
        learned.shuffle(&mut ChaCha8Rng::seed_from_u64(options.seed));
        learned.truncate(SKETCHED_FROM);
        let is_old = config.epochs > 0 && checkpoint::card(&out)?.sketch.is_some();
        if is_old && learned.len() >= FEWEST {
            let tell = &mut |progress| teller.tell(&progress, None);
            unlabelled::sketch(&out, &learned, &file(SKETCHED), &config, tell)?;
            fs::rename(file(SKETCHED), &out)?;
        }
        fs::rename(&out, file(TRAINED))?;
    }
    let (after, thresholds) = measure_all(&file(TRAINED))?;
    let before: Value = serde_json::from_slice(&fs::read(file(BEFORE))?)?;
    let metrics = json!({
        "before": before, "after": after, "queries": parts.held_out.len(), "training_images": parts.training.len(),
    });
    fs::copy(file(TRAINED), file(MODEL))?;
    checkpoint::record(&file(MODEL), |card| {
        card.quality = metrics.clone();
        card.thresholds = thresholds;
    })?;
    write(&file(OUTCOME), &metrics)
}

/// Where memory runs out, this process is ended and not the service.
fn be_the_first_to_go() {
    if let Err(error) = fs::write("/proc/self/oom_score_adj", "1000") {
        tracing::debug!(%error, "where memory runs out, any process may be ended");
    }
}

/// The training's options.
fn config(options: &FineTune, compute: &Compute) -> anyhow::Result<Train> {
    let card = checkpoint::card(Path::new(PARENT))?;
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
    // What is kept from training is kept here already.
    config.validation_fraction = 0.0;
    config.compute = compute.clone();
    Ok(config)
}
