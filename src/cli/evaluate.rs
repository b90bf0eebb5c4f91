//! `scihcgrl evaluate`: encodes a folder of class folders as the service would, splits it into queries and database, measures.
//! Knows what is read and written; what figures mean is `eval`'s, how they are shown `quality`'s.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::mpsc::{SyncSender, sync_channel},
};

use anyhow::{Context, ensure};
use clap::Args;
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use super::{
    folder::{self, File},
    quality,
};
use crate::{
    code::{HashCode, Length},
    config::{Compute, DEFAULT_MODEL},
    eval,
    image::{self, Pixels},
    model::{Hasher, checkpoint},
};

/// Images a forward pass.
const BATCH: usize = 64;

/// What is measured, and on what.
#[derive(Args)]
pub struct Evaluate {
    /// The checkpoint.
    #[arg(long, env = "SCIHCGRL_MODEL", default_value = DEFAULT_MODEL)]
    model: PathBuf,
    /// The folder. Images of classes the model was not trained on count too.
    #[arg(long)]
    data: PathBuf,
    /// How many of the images, drawn at random, are queries; the others are the database.
    #[arg(long, default_value_t = 1000)]
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

/// An image file's place in the order read, and its pixels.
type Picture = (usize, Pixels);
/// An image's class, and its codes by length.
type Coded = (String, Vec<HashCode>);

pub(super) fn run(evaluate: &Evaluate) -> anyhow::Result<()> {
    let hasher = Hasher::start(&evaluate.model, &evaluate.compute)?;
    let mut files = folder::files(&evaluate.data)?;
    files.retain(|file| file.class().is_some());
    let classes: BTreeSet<String> = files.iter().filter_map(File::class).collect();
    files.shuffle(&mut ChaCha8Rng::seed_from_u64(evaluate.seed));
    let (labelled, skipped) = encode(&hasher, &files)?;
    let queries = evaluate.queries;
    ensure!(
        (1..labelled.len()).contains(&queries),
        "{queries} queries of {} images in {} class folders; at least one must be left for the database",
        labelled.len(),
        classes.len()
    );
    let sets = eval::single_label(classes.len());
    let measure = |(head, length): (usize, &Length)| {
        let labelled: Vec<eval::Labelled> = labelled
            .iter()
            .map(|(class, codes)| {
                let class = classes.iter().position(|known| known == class);
                (codes[head], class.unwrap_or_default())
            })
            .collect();
        let (queries, database) = labelled.split_at(queries);
        let quality = eval::quality(queries, database, &sets, evaluate.seed);
        (*length, quality)
    };
    let lengths = hasher.card().lengths.iter().enumerate();
    let measured: Vec<quality::Measured> = lengths.map(measure).collect();
    let classes = Vec::from_iter(classes);
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
        "queries": queries, "database": labelled.len() - queries, "seed": evaluate.seed,
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
        checkpoint::record_quality(&evaluate.model, figures)?;
    }
    Ok(())
}

fn write(path: &Path, text: String) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// The class and the codes of every file that can be read, in order, and how many cannot.
fn encode(hasher: &Hasher, files: &[File]) -> anyhow::Result<(Vec<Coded>, usize)> {
    let size = hasher.card().input_size;
    // Decoding runs a few batches ahead of the model.
    let (ahead, batches) = sync_channel(2);
    std::thread::scope(|scope| {
        scope.spawn(move || decode(files, size, &ahead));
        let mut labelled = Vec::with_capacity(files.len());
        for batch in batches {
            let pixels: Vec<&Pixels> = batch.iter().map(|(_, pixels)| pixels).collect();
            let codes = hasher.encode(&pixels)?;
            labelled.extend(batch.iter().zip(codes).map(|((place, _), codes)| {
                let class = files[*place].class().unwrap_or_default();
                (class, codes)
            }));
        }
        let skipped = files.len() - labelled.len();
        Ok((labelled, skipped))
    })
}

fn decode(files: &[File], size: u32, ahead: &SyncSender<Vec<Picture>>) {
    let mut batch = Vec::with_capacity(BATCH);
    for (place, file) in files.iter().enumerate() {
        let read = fs::read(&file.path).map_err(anyhow::Error::from);
        match read.and_then(|bytes| Ok(image::decode(&bytes, size)?)) {
            Ok(decoded) => batch.push((place, decoded.pixels)),
            Err(reason) => {
                tracing::warn!(path = %file.path.display(), %reason, "skipped");
            }
        }
        // The receiver is gone only when inference failed, which is told there.
        if batch.len() == BATCH && ahead.send(std::mem::take(&mut batch)).is_err() {
            return;
        }
    }
    if !batch.is_empty() {
        let _ = ahead.send(batch);
    }
}
