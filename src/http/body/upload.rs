//! Writes a large body, or a field of a form, to a file as it arrives.

use std::{fs, path::PathBuf, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use sha2::{Digest, Sha256};
use tokio::{fs::File, io::AsyncWriteExt, time::timeout};

use crate::{
    http::error::ApiError,
    system::disk::{self, DiskError},
};

/// A received file. Dropping this deletes the file, unless it was moved.
pub(crate) struct ReceivedFile {
    pub path: PathBuf,
    pub bytes: u64,
    /// In hexadecimal digits.
    pub sha256: String,
}

impl Drop for ReceivedFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Writes a stream to a new file of at most `max_bytes`. Each chunk must arrive within
/// `chunk_timeout`.
pub(crate) async fn receive<E>(
    mut stream: impl Stream<Item = Result<Bytes, E>> + Unpin,
    path: PathBuf,
    max_bytes: u64,
    chunk_timeout: Duration,
) -> Result<ReceivedFile, ApiError>
where
    ApiError: From<E>,
{
    let folder = path.parent().map_or(PathBuf::new(), PathBuf::from);
    let upload_path = path.clone();
    let failed = |source| DiskError::Unknown {
        path: upload_path.clone(),
        source,
    };
    let mut file = File::create(&path).await.map_err(failed)?;
    let mut upload = ReceivedFile {
        path,
        bytes: 0,
        sha256: String::new(),
    };
    let mut digest = Sha256::new();
    loop {
        let next = timeout(chunk_timeout, stream.next()).await;
        let Some(chunk) = next.map_err(|_| ApiError::BodyTooSlow(chunk_timeout))? else {
            break;
        };
        let chunk = chunk?;
        upload.bytes += chunk.len() as u64;
        if upload.bytes > max_bytes {
            return Err(ApiError::UploadTooLarge(max_bytes));
        }
        disk::check_free_space(&folder, chunk.len() as u64)?;
        digest.update(&chunk);
        file.write_all(&chunk).await.map_err(failed)?;
    }
    if upload.bytes == 0 {
        return Err(ApiError::EmptyUpload);
    }
    file.flush().await.map_err(failed)?;
    upload.sha256 = format!("{:x}", digest.finalize());
    Ok(upload)
}
