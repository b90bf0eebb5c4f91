//! The source of an item's bytes: a file, a part of a file, or memory if they came from a
//! compressed archive.

use std::{
    fs::File,
    io::{Error, Read, Result, Seek, SeekFrom},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;

/// Maximum number of bytes that are read of one image, or of one file of many small images.
const MAX_BYTES: u64 = 512 << 20;

/// Bytes that any thread can read, any number of times.
#[derive(Clone, Debug)]
pub enum Source {
    /// A whole file.
    File(PathBuf),
    /// A range of bytes in a file.
    Part(Arc<Path>, Range<u64>),
    /// Bytes in memory.
    Memory(Bytes),
}

impl Source {
    /// Reads all bytes. Returns fewer than the length of a part if its file is shorter.
    ///
    /// # Errors
    /// A read error, or too many bytes for a picture: a film in a folder of photographs would fill
    /// the memory.
    pub fn read(&self) -> Result<Bytes> {
        let bytes = self.size();
        if bytes > MAX_BYTES {
            return Err(Error::other(format!(
                "it has {bytes} bytes; it must have at most {MAX_BYTES}"
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

    /// Returns the number of bytes, or 0 if the file no longer exists.
    pub fn size(&self) -> u64 {
        match self {
            Source::Memory(bytes) => bytes.len() as u64,
            Source::File(path) => std::fs::metadata(path).map_or(0, |file| file.len()),
            Source::Part(_, range) => range.end - range.start,
        }
    }

    /// Returns a part of it. The range must be inside it.
    pub fn part(&self, range: Range<usize>) -> Source {
        let range_from = |start: u64| start + range.start as u64..start + range.end as u64;
        match self {
            Source::File(path) => Source::Part(path.as_path().into(), range_from(0)),
            Source::Part(path, whole) => Source::Part(path.clone(), range_from(whole.start)),
            Source::Memory(bytes) => Source::Memory(bytes.slice(range)),
        }
    }
}
