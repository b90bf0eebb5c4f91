//! `scihcgrl evaluate`: encodes a data set, splits it into queries and database, and measures
//! retrieval quality. `eval` computes the measures, and `quality` presents them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use clap::Args;
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::{
    cli::quality,
    code::Length,
    config::{Compute, DEFAULT_MODEL},
    copies,
    eval::{self, encode::encode},
    model::{Hasher, checkpoint},
    train::data::{self, Collection, Item},
};

/// Maximum number of queries in the measurement of kin.
const MAX_KIN_QUERIES: usize = 1000;

/// The options of `scihcgrl evaluate`.
#[derive(Args)]
pub struct Evaluate {
    /// The checkpoint.
    #[arg(long, env = "SCIHCGRL_MODEL", default_value = DEFAULT_MODEL)]
    model: PathBuf,
    /// The data, in any form that `train` takes. Classes that the model was not trained on are
    /// included.
    #[arg(long, required_unless_present = "copies", conflicts_with = "copies")]
    data: Option<PathBuf>,
    /// Instead of --data: a folder of images. Measures how well changed copies of them are found,
    /// and images of the same kind if it has one folder for each kind.
    #[arg(long, conflicts_with_all = ["per_class", "plots"])]
    copies: Option<PathBuf>,
    /// With --copies: also write the changed pictures into this folder, to test other programs
    /// with.
    #[arg(long, requires = "copies")]
    keep: Option<PathBuf>,
    /// The number of images drawn at random as queries; the others are the database. With --copies,
    /// the number of images to change, 100 by default.
    #[arg(
        long,
        default_value_t = 1000,
        default_value_if("copies", clap::builder::ArgPredicate::IsPresent, "100")
    )]
    queries: usize,
    /// Seed of that draw and of the shuffled order.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Also print a table with the quality for the queries of each class.
    #[arg(long)]
    per_class: bool,
    /// Also write the figures and curves to this file, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Also draw pr.svg, precision and recall by Hamming radius, and precision.svg, precision
    /// within radius 2 by code length, into this folder.
    #[arg(long)]
    plots: Option<PathBuf>,
    /// Also write the figures, without curves and classes, into the checkpoint's card. This changes
    /// the checkpoint's id.
    #[arg(long)]
    record: bool,
    #[command(flatten)]
    compute: Compute,
}

pub(crate) fn run(evaluate: &Evaluate) -> anyhow::Result<()> {
    let hasher = Hasher::load_with(&evaluate.model, &evaluate.compute)?;
    if let Some(folder) = &evaluate.copies {
        return evaluate_copies(&hasher, evaluate, folder);
    }
    let data = evaluate.data.as_deref().context("--data is missing")?;
    let collection = data::open(data)?;
    let mut items: Vec<&Item> = collection.items.iter().collect();
    items.shuffle(&mut ChaCha8Rng::seed_from_u64(evaluate.seed));
    let coded = encode(&hasher, &items)?;
    let skipped = items.len() - coded.len();
    let (queries, classes) = (evaluate.queries, collection.classes);
    ensure!(
        (1..coded.len()).contains(&queries),
        "--queries is {queries}, of {} images in {} classes; at least one image must be left for the database",
        coded.len(),
        classes.len()
    );
    let measure = |(head, length): (usize, &Length)| {
        let labelled = coded.iter().map(|(set, codes)| (codes[head], *set));
        let labelled: Vec<eval::LabelledCode> = labelled.collect();
        let (queries, database) = labelled.split_at(queries);
        let quality = eval::quality(queries, database, &collection.sets, evaluate.seed);
        (*length, quality)
    };
    let lengths = hasher.card().lengths.iter().enumerate();
    let measured: Vec<quality::Measured> = lengths.map(measure).collect();
    print!("{}", quality::table(&measured));
    if evaluate.per_class {
        print!("\n{}", quality::by_class(&measured, &classes));
    }
    if let Some(folder) = &evaluate.plots {
        let name = evaluate.model.file_stem().unwrap_or_default();
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        for (file, svg) in quality::plots(&measured, &name.to_string_lossy())? {
            write(&folder.join(file), svg)?;
        }
    }
    let mut figures = json!({
        "queries": queries, "database": coded.len() - queries, "seed": evaluate.seed,
        "skipped_files": skipped, "quality": quality::rows(&measured),
    });
    if let Some(path) = &evaluate.json {
        let mut report = figures.clone();
        report["model"] = json!(hasher.id());
        report["classes"] = json!(classes);
        write(path, format!("{report:#}\n"))?;
    }
    if evaluate.record {
        figures["quality"] = quality::scalars(&measured);
        checkpoint::update_card(&evaluate.model, |card| card.quality = figures)?;
    }
    Ok(())
}

/// Measures the retrieval of copies and kin.
fn evaluate_copies(hasher: &Hasher, evaluate: &Evaluate, folder: &Path) -> anyhow::Result<()> {
    // Without folders of kinds, only copies are measured.
    let collection =
        data::open(folder).or_else(|_| Collection::unlabelled(&[folder.to_owned()]))?;
    let items: Vec<&Item> = collection.items.iter().collect();
    let mut drawn: Vec<usize> = (0..items.len()).collect();
    drawn.shuffle(&mut ChaCha8Rng::seed_from_u64(evaluate.seed));
    let first = |count: usize| &drawn[..count.min(drawn.len())];
    let test_set = copies::TestSet {
        items: &items,
        sets: &collection.sets,
        copied: first(evaluate.queries),
        kin: first(MAX_KIN_QUERIES),
        save_to: evaluate.keep.as_deref(),
    };
    let (mut figures, thresholds) = copies::measure(hasher, &test_set)?.context(
        "the model makes no sketches; `scihcgrl train --sketch MODEL --unlabelled FOLDER` adds them",
    )?;
    figures["seed"] = json!(evaluate.seed);
    print!("{}", quality::of_copies(&figures));
    figures["model"] = json!(hasher.id());
    if let Some(path) = &evaluate.json {
        write(path, format!("{figures:#}\n"))?;
    }
    if evaluate.record {
        checkpoint::update_card(&evaluate.model, |card| {
            card.thresholds = Some(thresholds);
            match &mut card.quality {
                Value::Object(quality) => drop(quality.insert("copies".to_owned(), figures)),
                other => *other = json!({ "copies": figures }),
            }
        })?;
    }
    Ok(())
}

fn write(path: &Path, text: String) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
