//! `scihcgrl evaluate`: encodes a data set as the service would, splits it into queries and database, measures.
//! Knows what is read and written; what figures mean is `eval`'s, how they are shown `quality`'s.

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
    copies, eval,
    model::{Hasher, checkpoint},
    train::{
        data::{self, Collection, Item},
        encode::encode,
    },
};

/// The most images that search for their kind.
const KIN: usize = 1000;

/// What is measured, and on what.
#[derive(Args)]
pub struct Evaluate {
    /// The checkpoint.
    #[arg(long, env = "SCIHCGRL_MODEL", default_value = DEFAULT_MODEL)]
    model: PathBuf,
    /// The data, in any form that `train` takes. Images of classes the model was not trained on count too.
    #[arg(long, required_unless_present = "copies", conflicts_with = "copies")]
    data: Option<PathBuf>,
    /// Instead: a folder of images. Some are changed as copies are and searched for. If it has a folder a kind, kin are searched for too.
    #[arg(long, conflicts_with_all = ["per_class", "plots"])]
    copies: Option<PathBuf>,
    /// With --copies: also write the changed pictures into this folder, for other programs to search by.
    #[arg(long, requires = "copies")]
    keep: Option<PathBuf>,
    /// How many of the images, drawn at random, are queries, the others being the database; with --copies how many are changed, 100 by
    /// default.
    #[arg(
        long,
        default_value_t = 1000,
        default_value_if("copies", clap::builder::ArgPredicate::IsPresent, "100")
    )]
    queries: usize,
    /// Seed of that draw, and of the shuffled order.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Also print a table by class, of the queries that have it.
    #[arg(long)]
    per_class: bool,
    /// Also write the figures and curves to this file, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Also draw pr.svg, precision and recall by Hamming radius, and precision.svg, precision within radius 2 by code length,
    /// into this folder.
    #[arg(long)]
    plots: Option<PathBuf>,
    /// Also write the figures, without curves and classes, into the checkpoint's card, which changes the checkpoint's id.
    #[arg(long)]
    record: bool,
    /// Where it computes.
    #[command(flatten)]
    compute: Compute,
}

pub(crate) fn run(evaluate: &Evaluate) -> anyhow::Result<()> {
    let hasher = Hasher::start(&evaluate.model, &evaluate.compute)?;
    if let Some(folder) = &evaluate.copies {
        return copied(&hasher, evaluate, folder);
    }
    let data = evaluate
        .data
        .as_deref()
        .context("--data says what to measure on")?;
    let collection = data::open(data)?;
    let mut items: Vec<&Item> = collection.items.iter().collect();
    items.shuffle(&mut ChaCha8Rng::seed_from_u64(evaluate.seed));
    let coded = encode(&hasher, &items)?;
    let skipped = items.len() - coded.len();
    let (queries, classes) = (evaluate.queries, collection.classes);
    ensure!(
        (1..coded.len()).contains(&queries),
        "{queries} queries of {} images in {} classes; at least one must be left for the database",
        coded.len(),
        classes.len()
    );
    let measure = |(head, length): (usize, &Length)| {
        let labelled = coded.iter().map(|(set, codes)| (codes[head], *set));
        let labelled: Vec<eval::Labelled> = labelled.collect();
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
        checkpoint::record(&evaluate.model, |card| card.quality = figures)?;
    }
    Ok(())
}

/// Measures copies and kin.
fn copied(hasher: &Hasher, evaluate: &Evaluate, folder: &Path) -> anyhow::Result<()> {
    // A folder without kinds is as good.
    let collection =
        data::open(folder).or_else(|_| Collection::unlabelled(&[folder.to_owned()]))?;
    let items: Vec<&Item> = collection.items.iter().collect();
    let mut drawn: Vec<usize> = (0..items.len()).collect();
    drawn.shuffle(&mut ChaCha8Rng::seed_from_u64(evaluate.seed));
    let first = |count: usize| &drawn[..count.min(drawn.len())];
    let asked = copies::Asked {
        items: &items,
        sets: &collection.sets,
        copied: first(evaluate.queries),
        kin: first(KIN),
        keep: evaluate.keep.as_deref(),
    };
    let (mut figures, thresholds) = copies::measure(hasher, &asked)?.context(
        "the model makes no sketches; `scihcgrl train --sketch MODEL --unlabelled FOLDER` gives it some",
    )?;
    figures["seed"] = json!(evaluate.seed);
    print!("{}", quality::of_copies(&figures));
    figures["model"] = json!(hasher.id());
    if let Some(path) = &evaluate.json {
        write(path, format!("{figures:#}\n"))?;
    }
    if evaluate.record {
        checkpoint::record(&evaluate.model, |card| {
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
