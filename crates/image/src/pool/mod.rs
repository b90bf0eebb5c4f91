//! Decoder processes, from the service's side. They limit the memory and time of decoders, most of
//! which are in C. A crash costs one picture.
//!
//! - `decoder`: one process
//! - `protocol`: the messages between the service and a process
//!
//! This module keeps idle processes and counts failures. `decoder_process` runs in the process.

mod decoder;
pub mod protocol;

use std::{
    path::PathBuf,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use ::image::RgbImage;
use parking_lot::Mutex;

use crate::{
    headers::header::Header,
    pool::{
        decoder::Decoder,
        protocol::{Answer, Library},
    },
    types::{error::ImageError, kind::Kind},
};

pub use protocol::DECODER_ARGUMENT;

/// Maximum number of pictures that a process decodes.
const MAX_PICTURES_PER_PROCESS: u32 = 256;
/// Maximum number of idle processes that are kept for later pictures.
const MAX_IDLE: usize = 2;

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
static IDLE: Mutex<Vec<Decoder>> = Mutex::new(Vec::new());
static FAILURES: AtomicU64 = AtomicU64::new(0);

/// Sets the program that runs as a decoder process. It must call
/// [`run_decoder`](crate::run_decoder) if its only argument is [`DECODER_ARGUMENT`]. If no program
/// is set, pictures that need a decoder process are refused. Only the first call has an effect.
pub fn set_decoder_program(program: PathBuf) {
    let _ = PROGRAM.set(program);
}

/// Returns the number of processes that crashed or reached a limit while they decoded a picture.
pub fn decoder_failures() -> u64 {
    FAILURES.load(Ordering::Relaxed)
}

/// Decodes a picture with a library in another process, over white. Only libheif and jxl-oxide turn
/// it upright. `what` names the picture in an error.
///
/// # Errors
/// [`ImageError::Malformed`], also if the process fails; [`ImageError::Unsupported`] if the library
/// or the program is missing.
pub(crate) fn decode(
    library: Library,
    bytes: &[u8],
    kind: Kind,
    what: String,
    header: Header,
) -> Result<RgbImage, ImageError> {
    let Some(program) = PROGRAM.get() else {
        return Err(ImageError::Unsupported { what });
    };
    let idle = || IDLE.lock();
    let kept = std::iter::from_fn(|| idle().pop()).find_map(Decoder::if_alive);
    let mut decoder = match kept {
        Some(decoder) => decoder,
        None => Decoder::start(program).map_err(|error| kind.malformed(error))?,
    };
    let answer = decoder.decode(library, bytes, header);
    match answer {
        Ok((answer, picture, message)) => {
            let mut idle = idle();
            if decoder.pictures < MAX_PICTURES_PER_PROCESS && idle.len() < MAX_IDLE {
                idle.push(decoder);
            }
            match (answer, picture) {
                (Answer::Pixels, Some(picture)) => Ok(picture),
                (Answer::Missing, _) => Err(ImageError::Unsupported {
                    what: format!("{what}, which needs {message} (not installed),"),
                }),
                _ => Err(kind.malformed(message)),
            }
        }
        Err(_) => {
            FAILURES.fetch_add(1, Ordering::Relaxed);
            Err(kind.malformed("its decoder crashed, or took too much memory or time"))
        }
    }
}
