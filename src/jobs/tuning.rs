//! Fine-tuning itself, in a process of its own: measures the model that is given, trains on from it, measures what came of it.
//! Knows a folder with the task and the images, where it goes on when it was cut off; neither the gallery nor the service.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::FineTune;
use crate::{
    config::{Compute, Train},
    eval::{self, Labelled},
    model::{Hasher, checkpoint},
    priority::Rank,
    train::{
        self, Progress,
        data::{self, Collection, Item},
        encode::encode,
    },
};

/// The files of a job's folder.
pub(super) const TASK: &str = "task.json";
pub(super) const MODEL: &str = "model.safetensors";
pub(super) const OUTCOME: &str = "outcome.json";
/// The model as it was trained, before its quality was written into it.
const TRAINED: &str = "trained.safetensors";
const BEFORE: &str = "before.json";

/// How often it is told how far it is.
const TOLD: Duration = Duration::from_millis(500);
/// Of each class, the most images that are searched for and searched among when models are compared.
const QUERIES: usize = 100;
const DATABASE: usize = 500;
/// The same after an epoch.
const QUERIES_AT_EPOCH: usize = 20;
const DATABASE_AT_EPOCH: usize = 100;

/// What is to be done, as the service leaves it in the folder.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Task {
    /// How.
    pub options: FineTune,
    /// The checkpoint to go on from.
    pub parent: PathBuf,
    /// The images: a data set in any form that `train` takes.
    pub data: PathBuf,
}

/// A line of what is told.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Told {
    /// `measure`, `warm-up` or `joint`.
    pub stage: String,
    pub epoch: u64,
    pub epochs: u64,
    pub step: u64,
    pub steps: u64,
    pub eta_seconds: Option<u64>,
    /// What else there is to say: `loss`, `reward`, `images_per_second`, and after an epoch `map`, by length.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

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
    let task = fs::read(folder.join(TASK)).context("the task cannot be read")?;
    let task: Task = serde_json::from_slice(&task).context("the task is malformed")?;
    let collection = data::open(&task.data)?;
    let parts = Parts::of(&collection, &task.options);
    ensure!(
        !parts.held_out.is_empty() && !parts.training.is_empty(),
        "no class has two images, so none can be kept to compare the models by; label more images"
    );
    let known: BTreeSet<String> = checkpoint::card(&task.parent)?
        .classes
        .into_iter()
        .collect();
    let measure = |model: &Path, most: (usize, usize)| -> anyhow::Result<Value> {
        let hasher = Hasher::start(model, compute)?;
        let queries = of_each_class(&collection, &parts.held_out, most.0);
        let database = of_each_class(&collection, &parts.training, most.1);
        quality(
            &hasher,
            &collection,
            &known,
            (&queries, &database),
            &task.options,
        )
    };
    let file = |name: &str| folder.join(name);
    if !file(BEFORE).exists() {
        tell(&Told {
            stage: "measure".to_owned(),
            ..Told::default()
        });
        let before = measure(&task.parent, (QUERIES, DATABASE))?;
        write(&file(BEFORE), &before)?;
    }
    if !file(TRAINED).exists() {
        let out = file(MODEL);
        let config = config(&task, compute)?;
        let mut teller = Teller::new(config.batch_size);
        train::train_on(
            &collection,
            Some(&parts.training),
            &out,
            &config,
            false,
            &mut |progress| {
                let map = progress.validation.is_some().then(|| {
                    let measured = measure(&out, (QUERIES_AT_EPOCH, DATABASE_AT_EPOCH));
                    measured.map_or(Value::Null, |measured| measured["all"].clone())
                });
                teller.tell(&progress, map);
            },
        )?;
        fs::rename(&out, file(TRAINED))?;
    }
    tell(&Told {
        stage: "measure".to_owned(),
        ..Told::default()
    });
    let after = measure(&file(TRAINED), (QUERIES, DATABASE))?;
    let before: Value = serde_json::from_slice(&fs::read(file(BEFORE))?)?;
    let metrics = json!({
        "before": before, "after": after, "queries": parts.held_out.len(), "training_images": parts.training.len(),
    });
    fs::copy(file(TRAINED), file(MODEL))?;
    checkpoint::record_quality(&file(MODEL), metrics.clone())?;
    write(&file(OUTCOME), &metrics)
}

/// Where memory runs out, this process is ended and not the service.
fn be_the_first_to_go() {
    if let Err(error) = fs::write("/proc/self/oom_score_adj", "1000") {
        tracing::debug!(%error, "where memory runs out, any process may be ended");
    }
}

/// The training's options.
fn config(task: &Task, compute: &Compute) -> anyhow::Result<Train> {
    let options = &task.options;
    let card = checkpoint::card(&task.parent)?;
    let mut config = Train::of::<&str>(&[])?;
    config.architecture = card.backbone;
    config.policy = card.policy;
    config.input_size = card.input_size;
    config.lengths = card.lengths;
    config.start = Some(task.parent.clone());
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

/// Which items are learned from, and which are kept to compare the models by.
struct Parts {
    training: Vec<usize>,
    held_out: Vec<usize>,
}

impl Parts {
    /// A share of each class, drawn at random; an item of several classes counts with the first. A class keeps at least one image, and
    /// gives one where it has two.
    fn of(collection: &Collection, options: &FineTune) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
        let mut members = vec![Vec::new(); collection.classes.len()];
        for (number, item) in collection.items.iter().enumerate() {
            members[collection.sets[item.set][0]].push(number);
        }
        let (mut training, mut held_out) = (Vec::new(), Vec::new());
        for mut class in members {
            class.shuffle(&mut rng);
            class.truncate(options.per_class.unwrap_or(usize::MAX));
            let share = (class.len() as f64 * options.validation_fraction).round() as usize;
            let kept = share.max(1).min(class.len().saturating_sub(1));
            held_out.extend(class.drain(..kept));
            training.extend(class);
        }
        training.sort_unstable();
        held_out.sort_unstable();
        Parts { training, held_out }
    }
}

/// At most so many of some items of each class.
fn of_each_class<'a>(collection: &'a Collection, of: &[usize], most: usize) -> Vec<&'a Item> {
    let mut taken = vec![0; collection.classes.len()];
    let items = of.iter().map(|&number| &collection.items[number]);
    let few = items.filter(|item| {
        let class = collection.sets[item.set][0];
        taken[class] += 1;
        taken[class] <= most
    });
    few.collect()
}

/// MAP and precision within radius 2 by length: of all queries, of those of classes that the first model knew, and of the others.
fn quality(
    hasher: &Hasher,
    collection: &Collection,
    known: &BTreeSet<String>,
    (queries, database): (&[&Item], &[&Item]),
    options: &FineTune,
) -> anyhow::Result<Value> {
    let (queries, database) = (encode(hasher, queries)?, encode(hasher, database)?);
    let is_known = |set: usize| {
        let mut classes = collection.sets[set].iter();
        classes.any(|&class| known.contains(&collection.classes[class]))
    };
    let groups: [(&str, &dyn Fn(usize) -> bool); 3] = [
        ("all", &|_| true),
        ("old", &is_known),
        ("new", &|set| !is_known(set)),
    ];
    let mut measured = Map::new();
    for (name, wanted) in groups {
        let mut by_length = Map::new();
        for (head, length) in hasher.card().lengths.iter().enumerate() {
            let labelled = |(set, codes): &train::encode::Coded| (codes[head], *set);
            let queries = queries.iter().filter(|(set, _)| wanted(*set)).map(labelled);
            let queries: Vec<Labelled> = queries.collect();
            if queries.is_empty() {
                continue;
            }
            let database: Vec<Labelled> = database.iter().map(labelled).collect();
            let quality = eval::quality(&queries, &database, &collection.sets, options.seed);
            let figures = json!({
                "map": rounded(quality.map), "precision_radius_2": rounded(quality.precision_radius_2),
                "queries": queries.len(),
            });
            by_length.insert(length.to_string(), figures);
        }
        measured.insert(name.to_owned(), by_length.into());
    }
    Ok(measured.into())
}

fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// Tells what a training tells, now and then, with its pace.
struct Teller {
    batch: usize,
    began: Option<(&'static str, usize, Instant)>,
    told: Option<Instant>,
}

impl Teller {
    fn new(batch: usize) -> Self {
        Teller {
            batch,
            began: None,
            told: None,
        }
    }

    fn tell(&mut self, progress: &Progress, map: Option<Value>) {
        let Progress {
            stage, step, steps, ..
        } = *progress;
        if self.began.is_none_or(|(of, ..)| of != stage) {
            self.began = Some((stage, step, Instant::now()));
        }
        let recent = self.told.is_some_and(|told| told.elapsed() < TOLD);
        if recent && map.is_none() {
            return;
        }
        self.told = Some(Instant::now());
        let mut more = Map::new();
        more.insert("loss".to_owned(), json!(rounded(progress.loss)));
        more.insert("reward".to_owned(), json!(rounded(progress.reward)));
        if let Some(map) = map {
            more.insert("map".to_owned(), map);
        }
        let mut eta_seconds = None;
        if let Some((_, first, began)) = self.began
            && step > first
            && stage == "joint"
        {
            let each = began.elapsed().as_secs_f64() / (step - first) as f64;
            eta_seconds = Some((each * (steps - step) as f64).ceil() as u64);
            let pace = (self.batch as f64 / each * 10.0).round() / 10.0;
            more.insert("images_per_second".to_owned(), json!(pace));
        }
        tell(&Told {
            stage: stage.to_owned(),
            epoch: progress.epoch as u64,
            epochs: progress.epochs as u64,
            step: step as u64,
            steps: steps as u64,
            eta_seconds,
            more,
        });
    }
}

/// A line for whoever listens; nobody need.
fn tell(told: &Told) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{}", json!(told)).and_then(|()| out.flush());
}

/// Whole or not at all.
fn write(path: &Path, value: &Value) -> anyhow::Result<()> {
    let part = path.with_extension("part");
    let written = fs::write(&part, format!("{value:#}\n")).and_then(|()| fs::rename(&part, path));
    written.with_context(|| format!("cannot write {}", path.display()))
}
