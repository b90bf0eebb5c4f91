//! `decode FOLDER`: decodes each path on standard input, and writes a line about it: the path, then the file in FOLDER that its pixels are in
//! as a PPM, or why there are none; with tabs between. For `benches/formats.py`, and for tests, which have it decode for them.

#![allow(clippy::unwrap_used)] // allow-unwrap: a tool stops where it fails

use std::{env, fs, io, path::Path};

use scihcgrl_image::{DECODER, decode_by, decode_pictures, decode_rgb};

fn main() {
    let argument = env::args().nth(1).unwrap();
    if argument == DECODER {
        return decode_pictures().unwrap();
    }
    decode_by(env::current_exe().unwrap());
    for (number, path) in io::stdin().lines().enumerate() {
        let path = path.unwrap();
        match decode_rgb(&fs::read(&path).unwrap()) {
            Err(error) => println!("{path}\t\t{}", error.to_string().trim()),
            Ok(picture) => {
                let to = Path::new(&argument).join(format!("{number}.ppm"));
                let head = format!("P6 {} {} 255\n", picture.width(), picture.height());
                fs::write(&to, [head.as_bytes(), picture.as_raw()].concat()).unwrap();
                println!("{path}\t{}\t", to.display());
            }
        }
    }
}
