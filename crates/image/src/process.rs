//! Decoders that memory and time are limited for, most of them in C, in processes of their own: started, asked, given a limit of time, and ended when they fail.
//! Knows processes and what is said between them (`child`); not what a decoder does.

use std::{
    io::{self, Read, Write},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use ::image::RgbImage;
use rustix::process::{Pid, Signal, kill_process};

use crate::{ImageError, header::Header, kind::Kind};

/// The argument that makes the program decode pictures, by [`crate::decode_pictures`].
pub const DECODER: &str = "decode-pictures";
/// The most pictures that a process decodes.
const PICTURES: u32 = 256;
/// The most processes that are kept for pictures to come.
const IDLE: usize = 2;
/// How long a picture may take.
const PATIENCE: Duration = Duration::from_secs(30);

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
static WAITING: Mutex<Vec<Decoder>> = Mutex::new(Vec::new());
static LOST: AtomicU64 = AtomicU64::new(0);

/// What decodes in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Library {
    Heif = 1,
    Tiff = 2,
    TurboJpeg = 3,
    Jxl = 4,
    WebP = 5,
}

/// What a process answers first.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Answer {
    /// Width, height, and red, green and blue of each pixel.
    Pixels = 0,
    /// Words: the picture is broken, or of a kind that the library does not read.
    Refused = 1,
    /// Words: the library is not installed.
    Missing = 2,
}

/// Names the program that decodes what C libraries read: it must call [`crate::decode_pictures`] if its only argument is [`DECODER`].
/// Without one, such pictures are refused. The first call counts.
pub fn decode_by(program: PathBuf) {
    let _ = PROGRAM.set(program);
}

/// How many processes crashed, or were ended for their time, while they decoded a picture.
pub fn lost_decoders() -> u64 {
    LOST.load(Ordering::Relaxed)
}

struct Decoder {
    process: Child,
    pictures: u32,
}

impl Drop for Decoder {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Decodes a picture by a library in another process, over white but not turned upright. `what` names the picture in a refusal.
///
/// # Errors
/// [`ImageError::Malformed`], also if the process fails; [`ImageError::Unsupported`] if there is no library.
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
    let waiting = || WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = std::iter::from_fn(|| waiting().pop()).find_map(Decoder::alive);
    let mut decoder = match kept {
        Some(decoder) => decoder,
        None => Decoder::start(program).map_err(|error| kind.malformed(error))?,
    };
    let answer = decoder.ask(library, bytes, header);
    match answer {
        Ok((answer, picture, words)) => {
            let mut waiting = waiting();
            if decoder.pictures < PICTURES && waiting.len() < IDLE {
                waiting.push(decoder);
            }
            match (answer, picture) {
                (Answer::Pixels, Some(picture)) => Ok(picture),
                (Answer::Missing, _) => Err(ImageError::Unsupported {
                    what: format!("{what}, without {words} on this machine,"),
                }),
                _ => Err(kind.malformed(words)),
            }
        }
        Err(_) => {
            LOST.fetch_add(1, Ordering::Relaxed);
            Err(kind.malformed("its decoder crashed, or took too much memory or time"))
        }
    }
}

impl Decoder {
    fn start(program: &PathBuf) -> io::Result<Self> {
        let mut command = Command::new(program);
        // It needs none of the service's secrets. Memory that one picture took is not kept for the next.
        command
            .arg(DECODER)
            .env_clear()
            .env(
                "MALLOC_CONF",
                "retain:false,dirty_decay_ms:0,muzzy_decay_ms:0",
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        if let Some(path) = std::env::var_os("LD_LIBRARY_PATH") {
            command.env("LD_LIBRARY_PATH", path);
        }
        Ok(Decoder {
            process: command.spawn()?,
            pictures: 0,
        })
    }

    /// Itself, if it has not ended while it waited.
    fn alive(mut self) -> Option<Self> {
        matches!(self.process.try_wait(), Ok(None)).then_some(self)
    }

    /// Has a picture decoded, and ends the process if that takes too long.
    fn ask(
        &mut self,
        library: Library,
        bytes: &[u8],
        header: Header,
    ) -> io::Result<(Answer, Option<RgbImage>, String)> {
        self.pictures += 1;
        let id = Pid::from_child(&self.process);
        let (Some(input), Some(output)) = (&mut self.process.stdin, &mut self.process.stdout)
        else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let (done, wait) = mpsc::channel::<()>();
        // The process is not waited for meanwhile, so its number is nobody else's.
        thread::scope(|scope| {
            scope.spawn(move || {
                if wait.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                    let _ = kill_process(id, Signal::KILL);
                }
            });
            let answer = exchange(input, output, library, bytes, header);
            drop(done);
            answer
        })
    }
}

fn exchange(
    input: &mut impl Write,
    output: &mut impl Read,
    library: Library,
    bytes: &[u8],
    header: Header,
) -> io::Result<(Answer, Option<RgbImage>, String)> {
    input.write_all(&[library as u8])?;
    input.write_all(&header.peak.to_le_bytes())?;
    input.write_all(&(bytes.len() as u64).to_le_bytes())?;
    input.write_all(bytes)?;
    input.flush()?;
    let mut first = [0];
    output.read_exact(&mut first)?;
    let mut word = || {
        let mut word = [0; 4];
        output
            .read_exact(&mut word)
            .map(|()| u32::from_le_bytes(word))
    };
    if first[0] == Answer::Pixels as u8 {
        let (width, height) = (word()?, word()?);
        // A quarter turn is the picture's own; more pixels than the headers told were not accounted for.
        if u64::from(width) * u64::from(height) > u64::from(header.width) * u64::from(header.height)
        {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut pixels = vec![0; width as usize * height as usize * 3];
        output.read_exact(&mut pixels)?;
        return Ok((
            Answer::Pixels,
            RgbImage::from_raw(width, height, pixels),
            String::new(),
        ));
    }
    let mut words = Vec::new();
    let length = u64::from(word()?.min(1024));
    output.take(length).read_to_end(&mut words)?;
    let words = String::from_utf8_lossy(&words).into_owned();
    match first[0] {
        1 => Ok((Answer::Refused, None, words)),
        2 => Ok((Answer::Missing, None, words)),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}
