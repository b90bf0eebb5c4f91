//! Originals in tar files: the volumes of a snapshot, about a gigabyte each, and entries of any
//! archive. Fetches originals in batches, to bound the memory used.

use std::io::{self, Read, Write};

use futures_util::{StreamExt, TryStreamExt, stream};
use uuid::Uuid;

use crate::snapshots::{
    File, SnapshotError, Snapshots,
    file::{self, FileWriter, blocking},
};

/// The size after which the next volume begins.
const VOLUME_BYTES: u64 = 1 << 30;
/// Bytes of originals that are fetched into memory before they are written.
pub(crate) const BATCH_BYTES: u64 = 16 << 20;
pub(crate) const PARALLEL_FETCHES: usize = 8;

/// Appends a file to a tar archive.
pub(crate) fn append(
    tar: &mut tar::Builder<impl Write>,
    name: &str,
    bytes: &[u8],
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, name, bytes)
}

/// Maximum size in bytes of an original in an archive.
pub(crate) const MAX_ORIGINAL_BYTES: u64 = 1 << 30;

/// Reads a file of a tar archive, or returns the reason why it is refused: it must be a plain file
/// of at most `max_bytes`. A sparse file can claim any size without taking space in the archive.
pub(crate) fn read_plain(
    entry: &mut tar::Entry<impl Read>,
    max_bytes: u64,
) -> io::Result<Result<Vec<u8>, String>> {
    if !entry.header().entry_type().is_file() {
        return Ok(Err("it is not a plain file".to_owned()));
    }
    if entry.size() > max_bytes {
        let bytes = entry.size();
        return Ok(Err(format!(
            "it has {bytes} bytes; at most {max_bytes} are allowed"
        )));
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes)?;
    Ok(Ok(bytes))
}

impl Snapshots {
    /// Writes all stored originals into tar files, unreferenced ones too. Those are removed when
    /// the restored store is opened.
    pub(crate) async fn copy_originals(&self, id: Uuid) -> Result<Vec<File>, SnapshotError> {
        let originals = self.0.gallery.originals();
        let mut listed = originals.list().await?;
        listed.sort();
        let (mut files, mut volume) = (Vec::new(), None::<(String, tar::Builder<FileWriter>, u64)>);
        let mut rest = listed.into_iter().peekable();
        while rest.peek().is_some() {
            let mut bytes = 0;
            let some: Vec<_> = std::iter::from_fn(|| {
                let next = rest.next_if(|_| bytes < BATCH_BYTES)?;
                bytes += next.1;
                Some(next.0)
            })
            .collect();
            let fetched = stream::iter(some).map(|name| async move {
                let found = originals.read(&name).await?;
                Ok::<_, SnapshotError>(found.map(|bytes| (name, bytes)))
            });
            let fetched: Vec<_> = fetched.buffered(PARALLEL_FETCHES).try_collect().await?;
            let (name, mut tar, size) = volume.take().unwrap_or_else(|| {
                let name = format!("originals-{:06}.tar", files.len() + 1);
                let tar = tar::Builder::new(self.create_file(id, &name));
                (name, tar, 0)
            });
            let written = blocking(move || {
                for (name, bytes) in fetched.into_iter().flatten() {
                    append(&mut tar, &name, &bytes)?;
                }
                Ok::<_, io::Error>(tar)
            });
            let tar = written.await?;
            if size + bytes < VOLUME_BYTES && rest.peek().is_some() {
                volume = Some((name, tar, size + bytes));
            } else {
                let out = blocking(move || tar.into_inner()).await?;
                files.push(file::finish(&name, out).await?);
            }
        }
        Ok(files)
    }
}
