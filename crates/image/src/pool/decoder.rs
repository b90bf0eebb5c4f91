//! One decoder process: started, sent pictures, and killed when it takes too long.

use std::{
    io::{self, Read, Write},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use ::image::RgbImage;
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    headers::header::Header,
    pool::protocol::{Answer, DECODER_ARGUMENT, Library, MAX_MESSAGE},
};

/// Maximum time for decoding a picture.
const DECODE_TIMEOUT: Duration = Duration::from_secs(30);

/// A running process. It is killed when this is dropped.
pub(super) struct Decoder {
    process: Child,
    /// The number of pictures sent to it.
    pub pictures: u32,
}

impl Drop for Decoder {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Decoder {
    pub fn start(program: &PathBuf) -> io::Result<Self> {
        let mut command = Command::new(program);
        // The environment may hold secrets that a decoder does not need. The allocator returns the
        // memory of one picture before the next.
        command
            .arg(DECODER_ARGUMENT)
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

    /// Returns the process, or `None` if it ended while it was idle.
    pub fn if_alive(mut self) -> Option<Self> {
        matches!(self.process.try_wait(), Ok(None)).then_some(self)
    }

    /// Sends a picture and returns the answer, with pixels or a message. Kills the process after
    /// [`DECODE_TIMEOUT`].
    pub fn decode(
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
        // Nobody waits for the process before the scope ends, so its id cannot be reused until
        // then.
        thread::scope(|scope| {
            scope.spawn(move || {
                if wait.recv_timeout(DECODE_TIMEOUT) == Err(mpsc::RecvTimeoutError::Timeout) {
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
    input.write_all(&header.peak_memory.to_le_bytes())?;
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
        // A decoder may swap width and height to turn a picture upright. More pixels than the
        // headers state were not accounted for.
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
    let mut message = Vec::new();
    let length = u64::from(word()?.min(MAX_MESSAGE));
    output.take(length).read_to_end(&mut message)?;
    let message = String::from_utf8_lossy(&message).into_owned();
    const REFUSED: u8 = Answer::Refused as u8;
    const MISSING: u8 = Answer::Missing as u8;
    match first[0] {
        REFUSED => Ok((Answer::Refused, None, message)),
        MISSING => Ok((Answer::Missing, None, message)),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}
