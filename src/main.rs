//! The `scihcgrl` command: parses its arguments and dispatches. Knows no detail of what it starts.

use std::{fs, path::PathBuf};

use anyhow::Context;
use clap::Parser;
use scihcgrl::{image, model};

/// Image retrieval by learned hash codes.
#[derive(Parser)]
#[command(version)]
enum Cli {
    /// Print the hash codes of image files, one JSON line each.
    Encode {
        /// The checkpoint.
        #[arg(long, env = "SCIHCGRL_MODEL")]
        model: PathBuf,
        /// auto, cpu, cuda or cuda:N.
        #[arg(long, env = "SCIHCGRL_DEVICE", default_value = "auto")]
        device: String,
        /// The images.
        #[arg(required = true)]
        images: Vec<PathBuf>,
    },
}

fn main() -> anyhow::Result<()> {
    let Cli::Encode {
        model,
        device,
        images,
    } = Cli::parse();
    let hasher = model::Hasher::load(&model, model::device(&device)?, tch::Kind::Float)?;
    for path in images {
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let decoded = image::decode(&bytes, hasher.card().input_size)
            .with_context(|| path.display().to_string())?;
        let codes = hasher.encode(&[&decoded.pixels])?.concat();
        println!("{}", serde_json::json!({ "image": path, "codes": codes }));
    }
    Ok(())
}
