//! Prints the 48-bit code of every image in a folder, without a service:
//! `cargo run --release --example encode_folder -- samples/queries`.

use std::{env, fs, path::Path};

use scihcgrl::{
    code::Length,
    image,
    model::Hasher,
    options::{Compute, Precision},
};

fn main() -> anyhow::Result<()> {
    let folder = env::args().nth(1).unwrap_or("samples/queries".to_owned());
    let hasher = Hasher::load_with(
        Path::new("models/photos.safetensors"),
        &Compute {
            device: "cpu".to_owned(),
            precision: Precision::Auto,
            threads: None,
        },
    )?;
    let input = hasher.card().input();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        // Files that are not pictures are skipped.
        let Ok(decoded) = image::decode(&fs::read(&path)?, input) else {
            continue;
        };
        for output in hasher.encode(&[&decoded.pixels])? {
            let code = output
                .codes
                .iter()
                .find(|code| code.length() == Length::L48);
            if let Some(code) = code {
                println!("{code} {}", path.display());
            }
        }
    }
    Ok(())
}
