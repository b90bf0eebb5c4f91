//! The originals of a snapshot: tar files of about a gigabyte, fetched some at a time so that memory holds few.
//! Knows names, sizes and tar; neither which images have them nor what else a snapshot holds.

use std::io::{self, Read, Write};

use futures_util::{StreamExt, TryStreamExt, stream};
use uuid::Uuid;

use crate::snapshots::{
    File, SnapshotError, Snapshots,
    file::{self, Out, blocking},
};

/// About how large a file of originals grows.
const VOLUME_BYTES: u64 = 1 << 30;
/// How many bytes of originals are fetched before they are written, and how many at a time.
pub(crate) const FETCHED_BYTES: u64 = 16 << 20;
pub(crate) const FETCHES: usize = 8;

/// Writes a file into a tar archive.
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

/// The most bytes of an original, as archives are read.
pub(crate) const MOST_ORIGINAL: u64 = 1 << 30;

/// All of a file in a tar archive, or why it is not read: it must be a plain one of at most so many bytes. A sparse one has as many as it
/// says, and takes no room in the archive.
pub(crate) fn plain(
    entry: &mut tar::Entry<impl Read>,
    most: u64,
) -> io::Result<Result<Vec<u8>, String>> {
    if !entry.header().entry_type().is_file() {
        return Ok(Err("it is not a plain file".to_owned()));
    }
    if entry.size() > most {
        let bytes = entry.size();
        return Ok(Err(format!("it has {bytes} bytes; the most is {most}")));
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes)?;
    Ok(Ok(bytes))
}

impl Snapshots {
    /// Writes all originals that lie at their place into tar files; those of no row are removed when the store is opened again.
    pub(crate) async fn copy_originals(&self, id: Uuid) -> Result<Vec<File>, SnapshotError> {
        let originals = self.0.gallery.originals();
        let mut listed = originals.list().await?;
        listed.sort();
        let (mut files, mut volume) = (Vec::new(), None::<(String, tar::Builder<Out>, u64)>);
        let mut rest = listed.into_iter().peekable();
        while rest.peek().is_some() {
            let mut bytes = 0;
            let some: Vec<_> = std::iter::from_fn(|| {
                let next = rest.next_if(|_| bytes < FETCHED_BYTES)?;
                bytes += next.1;
                Some(next.0)
            })
            .collect();
            let fetched = stream::iter(some).map(|name| async move {
                let found = originals.read(&name).await?;
                Ok::<_, SnapshotError>(found.map(|bytes| (name, bytes)))
            });
            let fetched: Vec<_> = fetched.buffered(FETCHES).try_collect().await?;
            let (name, mut tar, size) = volume.take().unwrap_or_else(|| {
                let name = format!("originals-{:06}.tar", files.len() + 1);
                let tar = tar::Builder::new(self.out(id, &name));
                (name, tar, 0)
            });
            let written = blocking(move || {
                for (name, bytes) in fetched.into_iter().flatten() {
                    append(&mut tar, &name, &bytes)?;
                }
                Ok::<_, io::Error>(tar)
            });
            let tar = written.await?;
            match size + bytes < VOLUME_BYTES && rest.peek().is_some() {
                true => volume = Some((name, tar, size + bytes)),
                false => {
                    let out = blocking(move || tar.into_inner()).await?;
                    files.push(file::finish(&name, out).await?);
                }
            }
        }
        Ok(files)
    }
}
