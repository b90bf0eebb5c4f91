//! `scihcgrl-paper reproduce`: compares methods, and single changes of the method, by the paper's
//! protocol over several seeds. Writes the tables and figures of docs/paper.md. A stopped run
//! resumes where it stopped.
//!
//! - `plan`: the experiments
//! - `results`: the file of results
//! - `report`: tables and figures

mod plan;
mod report;
mod results;

use std::{fs, path::PathBuf, time::Instant};

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};

use scihcgrl_image::Input;
use scihcgrl_index::code::{HashCode, Length};
use scihcgrl_model::{
    eval,
    train::{
        self, ProgressDisplay,
        data::{Collection, pictures::Pictures, split::Split},
    },
};

use crate::{
    data,
    frozen::{Frozen, codes_of},
    methods::Training,
};
use plan::{ABLATIONS, BASE, METHODS, Row};
use results::Results;

/// The options of `scihcgrl-paper reproduce`.
#[derive(Args)]
pub struct Reproduce {
    /// The data, in any form that `train` takes. Data of several paths are merged, with classes by
    /// name.
    #[arg(long, required = true, num_args = 1..)]
    data: Vec<PathBuf>,
    /// Weights of the backbone (safetensors, published names).
    #[arg(long)]
    backbone: PathBuf,
    /// The folder for features, results and checkpoints, from which a run resumes.
    #[arg(long, default_value = "runs/reproduce")]
    work: PathBuf,
    /// A page to write the tables into, between its two marks. Figures go into the folder `figures`
    /// next to it.
    #[arg(long)]
    report: Option<PathBuf>,
    /// The number of seeds. Each draws another split, other centres and other weights.
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// The first seed. Result files of several runs may be joined line by line.
    #[arg(long, default_value_t = 0)]
    first_seed: u64,
    /// Run these experiments instead of the paper's. Each is NAME=FLAGS with flags of `train`, and
    /// runs at every length.
    #[arg(long = "row", value_parser = plan::own)]
    rows: Vec<Row>,
    /// Side of the input, pixels.
    #[arg(long, default_value_t = 96)]
    input_size: u32,
    /// The number of random images used as queries.
    #[arg(long, default_value_t = 1000)]
    queries: usize,
    /// The number of random images to train on.
    #[arg(long, default_value_t = 5000)]
    training: usize,
    /// Also train backbone and policies with the flags of --joint, for this many of the seeds.
    #[arg(long, default_value_t = 0)]
    joint_seeds: u64,
    /// The flags of `train` for that, as one text.
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    joint: String,
    /// Then train a student of that model with these flags, on the training images and the
    /// database. Labels of the database are not used.
    #[arg(long, allow_hyphen_values = true)]
    student: Option<String>,
    /// The device: auto, cpu, cuda or cuda:N.
    #[arg(long, env = "SCIHCGRL_DEVICE", default_value = "auto")]
    device: String,
}

impl Reproduce {
    /// Returns the key of an experiment in the results: everything that they depend on except the
    /// data.
    fn key(&self, kind: &str, flags: &str, length: Length, seed: u64) -> String {
        let Reproduce {
            input_size,
            queries,
            training,
            ..
        } = self;
        let base = if kind == "frozen" { BASE } else { "" };
        format!(
            "{kind} [{base} {flags}] {input_size} pixels, {queries} queries, {training} trained on, {length} bits, seed {seed}"
        )
    }
}

pub fn run(options: &Reproduce) -> anyhow::Result<()> {
    fs::create_dir_all(&options.work)
        .with_context(|| format!("cannot make {}", options.work.display()))?;
    let collection = options
        .data
        .iter()
        .map(|path| data::open(path))
        .collect::<Result<Vec<_>, _>>()?;
    let collection = Collection::join(collection)?;
    let pictures = Pictures::read(
        &collection,
        None,
        Input::stretched(options.input_size),
        None,
        0,
    )?;
    if let Some((name, reason)) = pictures.skipped.first() {
        anyhow::bail!("{name} cannot be read ({reason}); the protocol counts every image");
    }
    let mut results = Results::open(&options.work.join("results.jsonl"))?;
    if options.seeds > 0 {
        frozen(options, &collection, &pictures, &mut results)?;
    }
    for seed in options.first_seed..options.first_seed + options.joint_seeds {
        joint(options, &collection, &pictures, &mut results, seed)?;
    }
    match &options.report {
        Some(page) => report::write(page, options, &results.done),
        None => Ok(()),
    }
}

/// Runs all methods and ablations, with policies only.
fn frozen(
    options: &Reproduce,
    collection: &Collection,
    pictures: &Pictures,
    results: &mut Results,
) -> anyhow::Result<()> {
    let training_with = |flags: &str, length: &str, seed: u64| {
        let own = format!(
            "{} --seed {seed} --device {}",
            options.own(),
            options.device
        );
        let all = [BASE, flags, &own, "--lengths", length].join(" ");
        let mut all: Vec<&str> = all.split_whitespace().collect();
        let backbone = options.backbone.to_string_lossy();
        all.extend(["--backbone", &backbone]);
        Training::of(&all)
    };
    let cache = options
        .work
        .join(format!("features-{}.safetensors", options.input_size));
    let mut last_logged = Instant::now();
    let features = Frozen::compute(
        pictures,
        &training_with("", "48", 0)?.train,
        &cache,
        &mut |done| {
            if last_logged.elapsed().as_secs() >= 10 {
                tracing::info!("features of {done} of {} images", pictures.labels.len());
                last_logged = Instant::now();
            }
        },
    )?;
    for seed in options.first_seed..options.first_seed + options.seeds {
        let split = Split::draw(collection, options.queries, options.training, seed)?;
        let rows = (options.methods().iter()).map(|row| (row, Length::ALL.as_slice()));
        let rows = rows.chain(options.ablations().iter().map(|row| (row, report::ABLATED)));
        for (row, lengths) in rows {
            for &length in lengths {
                let key = options.key("frozen", &row.flags, length, seed);
                if results.done.contains_key(&key) {
                    continue;
                }
                let started = Instant::now();
                let config = training_with(&row.flags, &length.to_string(), seed)?;
                let codes = features.codes(&config, &split.training, &mut |_| ())?;
                let measured = measure(&codes, 0, pictures, &split, seed);
                results.add(key, measured, started)?;
            }
        }
    }
    Ok(())
}

/// A training of both networks.
struct Stage<'a> {
    kind: &'static str,
    /// The key of its results: its own flags, and those of the trainings before it.
    all_flags: String,
    flags: &'a str,
    /// Flags for the models that it starts from.
    start_flags: Vec<&'a str>,
    numbers: Vec<usize>,
}

/// Trains both networks on the split of one seed, then a student of the trained model.
fn joint(
    options: &Reproduce,
    collection: &Collection,
    pictures: &Pictures,
    results: &mut Results,
    seed: u64,
) -> anyhow::Result<()> {
    let split = Split::draw(collection, options.queries, options.training, seed)?;
    let model_path = |kind: &str| options.work.join(format!("{kind}-{seed}.safetensors"));
    let backbone = options.backbone.display().to_string();
    let teacher = model_path("joint").display().to_string();
    let mut stages = vec![Stage {
        kind: "joint",
        all_flags: options.joint.clone(),
        flags: &options.joint,
        start_flags: vec!["--backbone", &backbone],
        numbers: split.training.clone(),
    }];
    if let Some(flags) = &options.student {
        stages.push(Stage {
            kind: "student",
            all_flags: options.taught(flags),
            flags,
            start_flags: vec!["--teacher", &teacher, "--start", &teacher],
            numbers: [split.training.as_slice(), &split.database].concat(),
        });
    }
    for stage in stages {
        let keys =
            Length::ALL.map(|length| options.key(stage.kind, &stage.all_flags, length, seed));
        if keys.iter().all(|key| results.done.contains_key(key)) {
            continue;
        }
        let started = Instant::now();
        let own = format!(
            "{} --seed {seed} --device {}",
            options.own(),
            options.device
        );
        let flags = own.split_whitespace().chain(stage.flags.split_whitespace());
        let flags: Vec<&str> = stage.start_flags.into_iter().chain(flags).collect();
        let (config, out) = (Training::of(&flags)?, model_path(stage.kind));
        let mut display = ProgressDisplay::default();
        let mut report = |progress| display.show(&progress);
        let numbers = Some(stage.numbers.as_slice());
        let objective = config.objective();
        let (train, objective) = (&config.train, &*objective);
        train::train_on(
            collection,
            numbers,
            &out,
            train,
            objective,
            false,
            &mut report,
        )?;
        let codes = codes_of(&out, pictures, &options.device, &mut |_| ())?;
        for (head, key) in keys.into_iter().enumerate() {
            results.add(key, measure(&codes, head, pictures, &split, seed), started)?;
        }
    }
    Ok(())
}

impl Reproduce {
    /// Experiments at every length.
    fn methods(&self) -> &[Row] {
        if self.rows.is_empty() {
            &METHODS
        } else {
            &self.rows
        }
    }

    /// Experiments at [`report::ABLATED`] lengths.
    fn ablations(&self) -> &[Row] {
        if self.rows.is_empty() {
            &ABLATIONS
        } else {
            &[]
        }
    }

    /// The flags of both trainings, with these for the student.
    fn taught(&self, student: &str) -> String {
        format!("{} | {student}", self.joint)
    }

    fn own(&self) -> String {
        format!("--input-size {}", self.input_size)
    }
}

/// Measures the codes of one head, with and without the training images in the database.
fn measure(
    codes: &[Vec<HashCode>],
    head: usize,
    pictures: &Pictures,
    split: &Split,
    seed: u64,
) -> Value {
    let labelled = |numbers: &[usize]| -> Vec<eval::LabelledCode> {
        numbers
            .iter()
            .map(|&number| (codes[number][head], pictures.labels[number]))
            .collect()
    };
    let (queries, without) = (labelled(&split.queries), labelled(&split.database));
    let with_training = [without.clone(), labelled(&split.training)].concat();
    let quality =
        |database: &[eval::LabelledCode]| eval::quality(&queries, database, &pictures.sets, seed);
    json!({ "without": quality(&without), "with": quality(&with_training) })
}
