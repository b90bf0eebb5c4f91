//! Where an item's bytes are: in a file, in a part of one, or in memory where an archive had to be unpacked.
//! Knows bytes; neither layouts nor pictures.

use std::{
    fs::File,
    io::{Error, Read, Result, Seek, SeekFrom},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;

/// The most bytes that are read of one image, or of one file of many small ones.
const MOST_BYTES: u64 = 512 << 20;

/// Bytes that can be read again and again, from any thread.
#[derive(Clone, Debug)]
pub enum Source {
    /// All of a file.
    File(PathBuf),
    /// Some of a file's bytes.
    Part(Arc<Path>, Range<u64>),
    /// Held.
    Memory(Bytes),
}

impl Source {
    /// All of its bytes; fewer than a part should have where the file is shorter.
    ///
    /// # Errors
    /// Where they cannot be read, or are more than any picture has: a film in a folder of photographs would take all memory.
    pub fn read(&self) -> Result<Bytes> {
        let bytes = self.size();
        if bytes > MOST_BYTES {
            return Err(Error::other(format!(
                "it has {bytes} bytes; the most is {MOST_BYTES}"
            )));
        }
        let (path, range) = match self {
            Source::Memory(bytes) => return Ok(bytes.clone()),
            Source::File(path) => return Ok(std::fs::read(path)?.into()),
            Source::Part(path, range) => (path, range),
        };
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(range.start))?;
        let mut bytes = Vec::new();
        file.take(range.end - range.start).read_to_end(&mut bytes)?;
        Ok(bytes.into())
    }

    /// How many bytes it has; none where its file is gone.
    pub fn size(&self) -> u64 {
        match self {
            Source::Memory(bytes) => bytes.len() as u64,
            Source::File(path) => std::fs::metadata(path).map_or(0, |file| file.len()),
            Source::Part(_, range) => range.end - range.start,
        }
    }

    /// A part of it, which must lie within.
    pub fn part(&self, range: Range<usize>) -> Source {
        let from = |start: u64| start + range.start as u64..start + range.end as u64;
        match self {
            Source::File(path) => Source::Part(path.as_path().into(), from(0)),
            Source::Part(path, whole) => Source::Part(path.clone(), from(whole.start)),
            Source::Memory(bytes) => Source::Memory(bytes.slice(range)),
        }
    }
}
