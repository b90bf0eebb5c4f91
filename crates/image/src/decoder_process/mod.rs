//! The program of a decoder process: reads pictures one by one and writes their pixels.
//!
//! - `heif`, `jpeg`, `jxl`, `tiff`, `webp`: decode with one library each
//! - `libtiff`: the functions of libtiff
//! - `samples`: TIFF samples that libtiff does not convert
//! - `library`: opens shared libraries
//! - `answer`: the result of decoding
//!
//! This module sets limits and serves requests, as `pool::protocol` defines them.

mod answer;
mod heif;
mod jpeg;
mod jxl;
mod library;
mod libtiff;
mod samples;
mod tiff;
mod webp;

use std::io::{self, Read, Write};

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::{
    decoder_process::answer::{Failure, Pixels},
    pool::protocol::{Answer, Library, MAX_MESSAGE},
    types::limits::MAX_MEMORY,
};

/// Maximum CPU time of a process in seconds, for all its pictures.
const CPU_SECONDS: u64 = 1200;
/// Bytes of memory for the libraries' code and for threads.
const LIBRARY_MEMORY: u64 = 64 << 20;

/// Decodes pictures from standard input to standard output until the input ends. Limits the memory
/// and the CPU time of the whole process.
///
/// # Errors
/// If a limit cannot be set, a request is damaged, or the other process has ended.
pub fn run_decoder() -> io::Result<()> {
    let limit = |resource, soft: u64, hard: u64| {
        let both = Rlimit {
            current: Some(soft),
            maximum: Some(hard),
        };
        setrlimit(resource, both)
    };
    limit(Resource::Core, 0, 0)?;
    limit(Resource::Cpu, CPU_SECONDS, CPU_SECONDS)?;
    let max_data = data_size()? + 2 * MAX_MEMORY;
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let mut first = [0];
    while input.read(&mut first)? == 1 {
        let mut number = || {
            let mut number = [0; 8];
            input
                .read_exact(&mut number)
                .map(|()| u64::from_le_bytes(number))
        };
        let (memory, length) = (number()?.min(MAX_MEMORY), number()?);
        let mut bytes = Vec::new();
        input.by_ref().take(length).read_to_end(&mut bytes)?;
        limit(
            Resource::Data,
            (data_size()? + memory + LIBRARY_MEMORY).min(max_data),
            max_data,
        )?;
        let answer = match first[0] {
            library if library == Library::Heif as u8 => heif::decode(&bytes),
            library if library == Library::Tiff as u8 => tiff::decode(&bytes),
            library if library == Library::TurboJpeg as u8 => jpeg::decode(&bytes),
            library if library == Library::Jxl as u8 => jxl::decode(&bytes),
            library if library == Library::WebP as u8 => webp::decode(&bytes),
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        write_answer(&mut output, answer)?;
        output.flush()?;
    }
    Ok(())
}

fn write_answer(output: &mut impl Write, answer: Result<Pixels, Failure>) -> io::Result<()> {
    let (answer, message) = match answer {
        Ok(Pixels { width, height, rgb }) => {
            output.write_all(&[Answer::Pixels as u8])?;
            output.write_all(&width.to_le_bytes())?;
            output.write_all(&height.to_le_bytes())?;
            return output.write_all(&rgb);
        }
        Err(Failure::Refused(message)) => (Answer::Refused, message),
        Err(Failure::Missing(library)) => (Answer::Missing, library.to_owned()),
    };
    let length = u32::try_from(message.len()).map_or(MAX_MESSAGE, |length| length.min(MAX_MESSAGE));
    output.write_all(&[answer as u8])?;
    output.write_all(&length.to_le_bytes())?;
    output.write_all(&message.as_bytes()[..length as usize])
}

/// Returns the bytes of the process's data, as the kernel counts them for the limit.
fn data_size() -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmData:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kilobytes.ok_or(io::ErrorKind::InvalidData)? << 10)
}
