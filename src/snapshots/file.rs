//! A file of a snapshot on its way to or from its place: streamed, counted and digested.
//! Knows object stores and SHA-256; not what a file holds.

use std::{
    io::{self, Read, Write},
    sync::Arc,
};

use object_store::{ObjectStore, ObjectStoreExt, buffered::BufWriter, path::Path};
use sha2::{Digest, Sha256};
use tokio::io::AsyncRead;
use tokio_util::io::{StreamReader, SyncIoBridge};

use crate::snapshots::{File, SnapshotError};

/// How much is gathered before it is passed on.
const BUFFER: usize = 1 << 20;

/// A file that is being written, from a thread that may block.
pub(crate) type Out = io::BufWriter<Digesting<SyncIoBridge<BufWriter>>>;

/// A file that is being read, from a thread that may block.
pub(crate) type In = io::BufReader<Digesting<SyncIoBridge<Box<dyn AsyncRead + Send + Unpin>>>>;

/// Counts and digests what passes through.
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

    fn take(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    fn facts(self, name: &str) -> File {
        let digest = self.digest.finalize();
        File {
            name: name.to_owned(),
            bytes: self.bytes,
            sha256: hex(&digest),
        }
    }
}

impl<T: Write> Write for Digesting<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.take(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Read for Digesting<T> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.take(&into[..read]);
        Ok(read)
    }
}

/// In hexadecimal digits.
pub(crate) fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Does what may block.
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

/// A new file. It is there once it is [finished](finish).
pub(crate) fn out(objects: Arc<dyn ObjectStore>, path: Path) -> Out {
    let bridge = SyncIoBridge::new(BufWriter::new(objects, path));
    io::BufWriter::with_capacity(BUFFER, Digesting::new(bridge))
}

/// Completes a file and tells what it is.
pub(crate) async fn finish(name: &str, out: Out) -> Result<File, SnapshotError> {
    let name = name.to_owned();
    blocking(move || {
        let mut out = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        out.inner.shutdown()?;
        Ok::<_, io::Error>(out.facts(&name))
    })
    .await
}

/// A file to read.
pub(crate) async fn read(objects: &dyn ObjectStore, path: &Path) -> Result<In, SnapshotError> {
    let stream = objects.get(path).await?.into_stream();
    let reader: Box<dyn AsyncRead + Send + Unpin> = Box::new(StreamReader::new(stream));
    let bridge = SyncIoBridge::new(reader);
    Ok(io::BufReader::with_capacity(BUFFER, Digesting::new(bridge)))
}

/// Reads a file to its end and checks that all of it was as its manifest says.
pub(crate) fn check(mut from: In, expected: &File) -> Result<(), SnapshotError> {
    io::copy(&mut from, &mut io::sink())?;
    let found = from.into_inner().facts(&expected.name);
    if found == *expected {
        return Ok(());
    }
    let File { bytes, sha256, .. } = found;
    let why = format!(
        "it has {bytes} bytes with the SHA-256 {sha256}, and should have {} with {}",
        expected.bytes, expected.sha256
    );
    Err(SnapshotError::Damaged {
        name: expected.name.clone(),
        why,
    })
}
