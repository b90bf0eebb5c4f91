//! `scihcgrl reproduce`: the paper's protocol, method against method and one change at a time, over several seeds, into the tables and
//! figures of docs/paper.md. Goes on where it was stopped. Knows the order of experiments; each is `train`'s, its worth `eval`'s.

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
        self,
        data::{Collection, pictures::Pictures, split::Split},
        show::Show,
    },
};

use crate::{
    data,
    frozen::{Frozen, codes_of},
    methods::Training,
};
use plan::{ABLATIONS, BASE, METHODS, Row};
use results::Results;

/// What is reproduced, and where.
#[derive(Args)]
pub struct Reproduce {
    /// The data, as `train` takes them; what stands at several paths is put together, its classes by name.
    #[arg(long, required = true, num_args = 1..)]
    data: Vec<PathBuf>,
    /// Weights of the backbone (safetensors, published names).
    #[arg(long)]
    backbone: PathBuf,
    /// Where features, results and checkpoints are kept, to go on from.
    #[arg(long, default_value = "runs/reproduce")]
    work: PathBuf,
    /// The page whose tables are written, between its two marks; the figures go into a folder `figures` beside it.
    #[arg(long)]
    report: Option<PathBuf>,
    /// How many seeds: each draws another split, other centres and other weights.
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// The first of them. Results of several runs may be put together, line by line.
    #[arg(long, default_value_t = 0)]
    first_seed: u64,
    /// Experiments of one's own instead of the paper's, as `NAME=FLAGS`: each is made at every length, with these flags of `train`.
    #[arg(long = "row", value_parser = plan::own)]
    rows: Vec<Row>,
    /// Side of the input, pixels.
    #[arg(long, default_value_t = 96)]
    input_size: u32,
    /// Random images that are queries.
    #[arg(long, default_value_t = 1000)]
    queries: usize,
    /// Random images that are trained on.
    #[arg(long, default_value_t = 5000)]
    training: usize,
    /// Also train both networks, by the flags of `train` given here as one text, for this many of the seeds.
    #[arg(long, default_value_t = 0)]
    joint_seeds: u64,
    /// Those flags.
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    joint: String,
    /// Then train a second model by these flags, on the training images and the database, from the first one's answers: the labels
    /// of the database are not looked at.
    #[arg(long, allow_hyphen_values = true)]
    student: Option<String>,
    /// auto, cpu, cuda or cuda:N.
    #[arg(long, env = "SCIHCGRL_DEVICE", default_value = "auto")]
    device: String,
}

impl Reproduce {
    /// An experiment's name among the results: all that they depend on but the data.
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

/// All methods and ablations, policies alone.
fn frozen(
    options: &Reproduce,
    collection: &Collection,
    pictures: &Pictures,
    results: &mut Results,
) -> anyhow::Result<()> {
    let given = |flags: &str, length: &str, seed: u64| {
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
    let mut told = Instant::now();
    let features = Frozen::compute(pictures, &given("", "48", 0)?.train, &cache, &mut |done| {
        if told.elapsed().as_secs() >= 10 {
            tracing::info!("features of {done} of {} images", pictures.labels.len());
            told = Instant::now();
        }
    })?;
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
                let config = given(&row.flags, &length.to_string(), seed)?;
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
    /// What its results depend on: its own flags, and those of the trainings before it.
    all_flags: String,
    flags: &'a str,
    /// What it starts from, as flags.
    given: Vec<&'a str>,
    numbers: Vec<usize>,
}

/// Both networks, on the split of one seed, and the student of what they answer.
fn joint(
    options: &Reproduce,
    collection: &Collection,
    pictures: &Pictures,
    results: &mut Results,
    seed: u64,
) -> anyhow::Result<()> {
    let split = Split::draw(collection, options.queries, options.training, seed)?;
    let out = |kind: &str| options.work.join(format!("{kind}-{seed}.safetensors"));
    let backbone = options.backbone.display().to_string();
    let teacher = out("joint").display().to_string();
    let mut stages = vec![Stage {
        kind: "joint",
        all_flags: options.joint.clone(),
        flags: &options.joint,
        given: vec!["--backbone", &backbone],
        numbers: split.training.clone(),
    }];
    if let Some(flags) = &options.student {
        stages.push(Stage {
            kind: "student",
            all_flags: options.taught(flags),
            flags,
            given: vec!["--teacher", &teacher, "--start", &teacher],
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
        let flags: Vec<&str> = stage.given.into_iter().chain(flags).collect();
        let (config, out) = (Training::of(&flags)?, out(stage.kind));
        let mut show = Show::default();
        let mut tell = |progress| show.tell(&progress);
        let numbers = Some(stage.numbers.as_slice());
        let objective = config.objective();
        let (train, objective) = (&config.train, &*objective);
        train::train_on(
            collection, numbers, &out, train, objective, false, &mut tell,
        )?;
        let codes = codes_of(&out, pictures, &options.device, &mut |_| ())?;
        for (head, key) in keys.into_iter().enumerate() {
            results.add(key, measure(&codes, head, pictures, &split, seed), started)?;
        }
    }
    Ok(())
}

impl Reproduce {
    /// What is made at every length.
    fn methods(&self) -> &[Row] {
        match self.rows.is_empty() {
            true => &METHODS,
            false => &self.rows,
        }
    }

    /// What is made at [`report::ABLATED`] lengths.
    fn ablations(&self) -> &[Row] {
        match self.rows.is_empty() {
            true => &ABLATIONS,
            false => &[],
        }
    }

    /// The flags of both trainings, where the second has these.
    fn taught(&self, student: &str) -> String {
        format!("{} | {student}", self.joint)
    }

    fn own(&self) -> String {
        format!("--input-size {}", self.input_size)
    }
}

/// Quality of one head's codes, the training images not counted and counted in the database.
fn measure(
    codes: &[Vec<HashCode>],
    head: usize,
    pictures: &Pictures,
    split: &Split,
    seed: u64,
) -> Value {
    let labelled = |numbers: &[usize]| -> Vec<eval::Labelled> {
        numbers
            .iter()
            .map(|&number| (codes[number][head], pictures.labels[number]))
            .collect()
    };
    let (queries, without) = (labelled(&split.queries), labelled(&split.database));
    let with = [without.clone(), labelled(&split.training)].concat();
    let quality =
        |database: &[eval::Labelled]| eval::quality(&queries, database, &pictures.sets, seed);
    json!({ "without": quality(&without), "with": quality(&with) })
}
