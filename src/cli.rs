//! The subcommands: what each takes, and how its work is shown on a terminal or in a log.
//! Knows how to call the layers below; decides nothing for them.

mod evaluate;

use std::{fs, io::IsTerminal, path::PathBuf, time::Instant};

use anyhow::Context;
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    config::{Compute, Serve, Train},
    image, model, serve, train,
};

/// Image retrieval by learned hash codes.
#[derive(Parser)]
#[command(version)]
pub enum Cli {
    /// Answer searches over HTTP.
    Serve(Box<Serve>),
    /// Train a model on a folder that has a folder of images per class.
    Train {
        /// The folder.
        #[arg(long)]
        data: PathBuf,
        /// The checkpoint to write.
        #[arg(long)]
        out: PathBuf,
        /// How.
        #[command(flatten)]
        config: Box<Train>,
    },
    /// Measure a model's retrieval quality on a folder that has a folder of images per class.
    Evaluate {
        /// The checkpoint.
        #[arg(long, env = "SCIHCGRL_MODEL")]
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
        /// Also write the figures to this file, as JSON.
        #[arg(long)]
        json: Option<PathBuf>,
        /// Where it computes.
        #[command(flatten)]
        compute: Compute,
    },
    /// Convert published PyTorch weights of a backbone (.pth) to safetensors, to train from.
    ImportWeights {
        /// The state dict, as `torch.save` of before PyTorch 1.6 wrote it.
        file: PathBuf,
        /// The safetensors file to write.
        #[arg(long)]
        out: PathBuf,
    },
    /// Print the hash codes of image files, one JSON line each.
    Encode {
        /// The checkpoint.
        #[arg(long, env = "SCIHCGRL_MODEL")]
        model: PathBuf,
        /// Where it computes.
        #[command(flatten)]
        compute: Compute,
        /// The images.
        #[arg(required = true)]
        images: Vec<PathBuf>,
    },
}

impl Cli {
    /// Does what was asked.
    ///
    /// # Errors
    /// Whatever stopped it, in words.
    pub fn run(self) -> anyhow::Result<()> {
        match self {
            Cli::Serve(config) => serve::run(&config)?,
            Cli::Train { data, out, config } => {
                let started = Instant::now();
                let mut show = Show::default();
                train::train(&data, &out, &config, &mut |progress| show.tell(&progress))?;
                println!(
                    "wrote {} after {} s",
                    out.display(),
                    started.elapsed().as_secs()
                );
            }
            Cli::Evaluate {
                model,
                data,
                queries,
                seed,
                json,
                compute,
            } => {
                evaluate::run(
                    &model::Hasher::start(&model, &compute)?,
                    &data,
                    queries,
                    seed,
                    json.as_deref(),
                )?;
            }
            Cli::ImportWeights { file, out } => {
                let count = model::checkpoint::import(&file, &out)?;
                println!("wrote {count} tensors to {}", out.display());
            }
            Cli::Encode {
                model,
                compute,
                images,
            } => {
                let hasher = model::Hasher::start(&model, &compute)?;
                for path in images {
                    let bytes = fs::read(&path)
                        .with_context(|| format!("cannot read {}", path.display()))?;
                    let decoded = image::decode(&bytes, hasher.card().input_size)
                        .with_context(|| path.display().to_string())?;
                    let codes = hasher.encode(&[&decoded.pixels])?.concat();
                    println!("{}", serde_json::json!({ "image": path, "codes": codes }));
                }
            }
        }
        Ok(())
    }
}

/// A progress bar on a terminal, a log line every hundred steps elsewhere.
#[derive(Default)]
struct Show {
    bar: Option<(&'static str, ProgressBar)>,
}

impl Show {
    fn tell(&mut self, progress: &train::Progress) {
        let train::Progress {
            stage,
            epoch,
            epochs,
            step,
            steps,
            loss,
            reward,
            validation,
        } = progress;
        let words = format!("{stage} {epoch}/{epochs}  loss {loss:.4}  reward {reward:.4}");
        if let Some(validation) = validation {
            let shares: Vec<String> = validation
                .iter()
                .map(|share| format!("{share:.4}"))
                .collect();
            tracing::info!("{words}  validation {}", shares.join(" "));
        } else if std::io::stderr().is_terminal() {
            if self.bar.as_ref().is_none_or(|(of, _)| of != stage) {
                let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {eta} left  {msg}");
                let bar = ProgressBar::new(*steps as u64);
                self.bar = Some((
                    stage,
                    style.map_or(bar.clone(), |style| bar.with_style(style)),
                ));
            }
            if let Some((_, bar)) = &self.bar {
                bar.set_position(*step as u64);
                bar.set_message(words);
            }
        } else if step % 100 == 0 || step == steps {
            tracing::info!("{words}  step {step}/{steps}");
        }
    }
}
