//! Bodies, or parts of one, that memory should not hold: written to a file as they come, as long as they come and the disk has room.
//! Knows files and digests; not what is in them.

use std::{fs, path::PathBuf, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use sha2::{Digest, Sha256};
use tokio::{fs::File, io::AsyncWriteExt, time::timeout};

use crate::{
    http::error::ApiError,
    system::disk::{self, DiskError},
};

/// A file that was sent. It goes with this, unless it was moved elsewhere.
pub(crate) struct Upload {
    pub path: PathBuf,
    pub bytes: u64,
    /// Of its content, in hexadecimal digits.
    pub sha256: String,
}

impl Drop for Upload {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Writes what comes to a new file of at most so many bytes, of which the next must never be longer in coming than `patience`.
pub(crate) async fn receive<E>(
    mut from: impl Stream<Item = Result<Bytes, E>> + Unpin,
    path: PathBuf,
    most: u64,
    patience: Duration,
) -> Result<Upload, ApiError>
where
    ApiError: From<E>,
{
    let folder = path.parent().map_or(PathBuf::new(), PathBuf::from);
    let at = path.clone();
    let failed = |source| DiskError::Unknown {
        path: at.clone(),
        source,
    };
    let mut file = File::create(&path).await.map_err(failed)?;
    let mut upload = Upload {
        path,
        bytes: 0,
        sha256: String::new(),
    };
    let mut digest = Sha256::new();
    loop {
        let next = timeout(patience, from.next()).await;
        let Some(chunk) = next.map_err(|_| ApiError::BodyTooSlow(patience))? else {
            break;
        };
        let chunk = chunk?;
        upload.bytes += chunk.len() as u64;
        if upload.bytes > most {
            return Err(ApiError::UploadTooLarge(most));
        }
        disk::room(&folder, chunk.len() as u64)?;
        digest.update(&chunk);
        file.write_all(&chunk).await.map_err(failed)?;
    }
    if upload.bytes == 0 {
        return Err(ApiError::EmptyUpload);
    }
    file.flush().await.map_err(failed)?;
    upload.sha256 = digest
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(upload)
}
