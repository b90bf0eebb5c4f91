//! Streams files of a snapshot to and from object storage, and computes their size and SHA-256.

use std::{
    io::{self, Read, Write},
    sync::Arc,
};

use object_store::{ObjectStore, ObjectStoreExt, buffered::BufWriter, path::Path};
use sha2::{Digest, Sha256};
use tokio::io::AsyncRead;
use tokio_util::io::{StreamReader, SyncIoBridge};

use crate::snapshots::{File, SnapshotError};

const BUFFER_BYTES: usize = 1 << 20;

/// A file to write. Writing blocks.
pub(crate) type FileWriter = io::BufWriter<Digesting<SyncIoBridge<BufWriter>>>;

/// A file to read. Reading blocks.
pub(crate) type FileReader =
    io::BufReader<Digesting<SyncIoBridge<Box<dyn AsyncRead + Send + Unpin>>>>;

/// A reader or writer that counts and digests the bytes that pass through.
pub(crate) struct Digesting<T> {
    inner: T,
    digest: Sha256,
    bytes: u64,
}

impl<T> Digesting<T> {
    fn new(inner: T) -> Self {
        Digesting {
            inner,
            digest: Sha256::new(),
            bytes: 0,
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    fn finish(self, name: &str) -> File {
        let digest = self.digest.finalize();
        File {
            name: name.to_owned(),
            bytes: self.bytes,
            sha256: format!("{digest:x}"),
        }
    }
}

impl<T: Write> Write for Digesting<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Read for Digesting<T> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.update(&into[..read]);
        Ok(read)
    }
}

/// Runs blocking work on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static, E>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, SnapshotError>
where
    E: Send + 'static,
    SnapshotError: From<E>,
{
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|_| SnapshotError::Panicked)??)
}

/// Begins a new file. The file exists when it is [finished](finish).
pub(crate) fn create(objects: Arc<dyn ObjectStore>, path: Path) -> FileWriter {
    let bridge = SyncIoBridge::new(BufWriter::new(objects, path));
    io::BufWriter::with_capacity(BUFFER_BYTES, Digesting::new(bridge))
}

/// Completes a file and returns its manifest entry.
pub(crate) async fn finish(name: &str, out: FileWriter) -> Result<File, SnapshotError> {
    let name = name.to_owned();
    blocking(move || {
        let mut out = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        out.inner.shutdown()?;
        Ok::<_, io::Error>(out.finish(&name))
    })
    .await
}

/// Opens a file to read.
pub(crate) async fn read(
    objects: &dyn ObjectStore,
    path: &Path,
) -> Result<FileReader, SnapshotError> {
    let stream = objects.get(path).await?.into_stream();
    let reader: Box<dyn AsyncRead + Send + Unpin> = Box::new(StreamReader::new(stream));
    let bridge = SyncIoBridge::new(reader);
    Ok(io::BufReader::with_capacity(
        BUFFER_BYTES,
        Digesting::new(bridge),
    ))
}

/// Reads a file to its end and checks its size and digest.
pub(crate) fn check(mut from: FileReader, expected: &File) -> Result<(), SnapshotError> {
    io::copy(&mut from, &mut io::sink())?;
    let found = from.into_inner().finish(&expected.name);
    if found == *expected {
        return Ok(());
    }
    let File { bytes, sha256, .. } = found;
    let why = format!(
        "it has {bytes} bytes with the SHA-256 {sha256}; expected {} bytes with {}",
        expected.bytes, expected.sha256
    );
    Err(SnapshotError::Damaged {
        name: expected.name.clone(),
        why,
    })
}
