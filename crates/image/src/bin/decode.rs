//! `decode FOLDER`: decodes each path on standard input and prints one line per path: the path, the
//! PPM file in FOLDER with its pixels, and the error if there is one, separated by tabs.
//! `benches/formats.py` runs it, and tests use it as their decoder process.

#![allow(clippy::unwrap_used)] // allow-unwrap: a tool stops where it fails

use std::{env, fs, io, path::Path};

use scihcgrl_image::{DECODER_ARGUMENT, decode_rgb, run_decoder, set_decoder_program};

fn main() {
    let argument = env::args().nth(1).unwrap();
    if argument == DECODER_ARGUMENT {
        return run_decoder().unwrap();
    }
    set_decoder_program(env::current_exe().unwrap());
    for (number, path) in io::stdin().lines().enumerate() {
        let path = path.unwrap();
        match decode_rgb(&fs::read(&path).unwrap()) {
            Err(error) => println!("{path}\t\t{}", error.to_string().trim()),
            Ok(picture) => {
                let output = Path::new(&argument).join(format!("{number}.ppm"));
                let head = format!("P6 {} {} 255\n", picture.width(), picture.height());
                fs::write(&output, [head.as_bytes(), picture.as_raw()].concat()).unwrap();
                println!("{path}\t{}\t", output.display());
            }
        }
    }
}
