//! What a process that decodes what is not decoded in the service's own does: it reads pictures, one after the other, and writes their pixels.
//! Knows what is said to it (`process`) and its limits; the libraries are each a module's.

mod heif;
mod jpeg;
mod jxl;
mod library;
mod raw;
mod tiff;
mod webp;

use std::io::{self, Read, Write};

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::{
    MAX_BYTES,
    process::{Answer, Library},
};

/// Seconds of computing that a process may take in all.
const SECONDS: u64 = 1200;

/// Pixels of a picture, red, green and blue, over white.
struct Pixels {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

/// Why there are none.
enum Failed {
    /// What the library says.
    Refused(String),
    /// The library that is not installed.
    Missing(&'static str),
}

impl From<&str> for Failed {
    fn from(words: &str) -> Self {
        Failed::Refused(words.to_owned())
    }
}

/// Decodes pictures from standard input to standard output until there are no more. The process has nothing else to do: its memory and
/// its time are limited.
///
/// # Errors
/// If a limit cannot be set, or what asks is gone.
pub fn decode_pictures() -> io::Result<()> {
    let limit = |resource, soft: u64, hard: u64| {
        let both = Rlimit {
            current: Some(soft),
            maximum: Some(hard),
        };
        setrlimit(resource, both)
    };
    limit(Resource::Core, 0, 0)?;
    limit(Resource::Cpu, SECONDS, SECONDS)?;
    let most = data()? + 2 * MAX_BYTES;
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let mut first = [0];
    while input.read(&mut first)? == 1 {
        let mut number = || {
            let mut number = [0; 8];
            input
                .read_exact(&mut number)
                .map(|()| u64::from_le_bytes(number))
        };
        let (memory, length) = (number()?.min(MAX_BYTES), number()?);
        let mut bytes = Vec::new();
        input.by_ref().take(length).read_to_end(&mut bytes)?;
        limit(Resource::Data, (data()? + memory + SPARE).min(most), most)?;
        let answer = match first[0] {
            one if one == Library::Heif as u8 => heif::decode(&bytes),
            one if one == Library::Tiff as u8 => tiff::decode(&bytes),
            one if one == Library::TurboJpeg as u8 => jpeg::decode(&bytes),
            one if one == Library::Jxl as u8 => jxl::decode(&bytes),
            one if one == Library::WebP as u8 => webp::decode(&bytes),
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        tell(&mut output, answer)?;
        output.flush()?;
    }
    Ok(())
}

/// What libraries take to be loaded, and for threads.
const SPARE: u64 = 64 << 20;

/// A channel over white, multiplied by its opacity already or not.
fn over_white(channel: u8, opacity: u8, multiplied: bool) -> u8 {
    let (channel, opacity) = (u32::from(channel), u32::from(opacity));
    match multiplied {
        true => (channel + 255 - opacity).min(255) as u8,
        false => ((channel * opacity + 255 * (255 - opacity) + 127) / 255) as u8,
    }
}

fn tell(output: &mut impl Write, answer: Result<Pixels, Failed>) -> io::Result<()> {
    let (answer, words) = match answer {
        Ok(Pixels { width, height, rgb }) => {
            output.write_all(&[Answer::Pixels as u8])?;
            output.write_all(&width.to_le_bytes())?;
            output.write_all(&height.to_le_bytes())?;
            return output.write_all(&rgb);
        }
        Err(Failed::Refused(words)) => (Answer::Refused, words),
        Err(Failed::Missing(library)) => (Answer::Missing, library.to_owned()),
    };
    let words = &words.as_bytes()[..words.len().min(1024)];
    output.write_all(&[answer as u8])?;
    output.write_all(&(words.len() as u32).to_le_bytes())?;
    output.write_all(words)
}

/// Bytes of memory that the process may write to, as the kernel counts them for the limit.
fn data() -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmData:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kilobytes.ok_or(io::ErrorKind::InvalidData)? << 10)
}
