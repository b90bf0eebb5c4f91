//! Temporary files of jobs, stored next to the originals so that other replicas can fetch them.

use std::path::Path;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::{Error, ObjectStoreExt, buffered::BufWriter};
use tokio::{
    fs::File,
    io::{self, AsyncWriteExt},
};
use tokio_util::io::StreamReader;

use crate::gallery::originals::{Originals, OriginalsError};

/// The folder of these files, which keeps them apart from originals.
pub(crate) const FILES_FOLDER: &str = "jobs";

impl Originals {
    /// Stores a file, or replaces it. Readers see a whole file or none.
    ///
    /// # Errors
    /// [`OriginalsError::File`].
    pub async fn send(&self, name: &str, from: &Path) -> Result<(), OriginalsError> {
        let sent = async {
            let mut file = File::open(from).await?;
            let mut writer = BufWriter::new(self.objects.clone(), self.file(name));
            match io::copy(&mut file, &mut writer).await {
                Ok(_) => writer.shutdown().await,
                Err(error) => {
                    let _ = writer.abort().await;
                    Err(error)
                }
            }
        };
        sent.await.map_err(|source| failed(name, source))
    }

    /// Copies a stored file to a path. Returns false if there is no file with this name.
    ///
    /// # Errors
    /// [`OriginalsError::File`].
    pub async fn fetch(&self, name: &str, to: &Path) -> Result<bool, OriginalsError> {
        let bytes = match self.objects.get(&self.file(name)).await {
            Ok(found) => found.into_stream(),
            Err(Error::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(failed(name, error.into())),
        };
        let fetched = async {
            let mut file = File::create(to).await?;
            let mut bytes = StreamReader::new(bytes.map_err(std::io::Error::from));
            io::copy(&mut bytes, &mut file).await?;
            file.flush().await
        };
        fetched.await.map_err(|source| failed(name, source))?;
        Ok(true)
    }

    /// Returns the content of a small file, if there is one with this name.
    ///
    /// # Errors
    /// [`OriginalsError::File`].
    pub async fn load(&self, name: &str) -> Result<Option<Bytes>, OriginalsError> {
        let read = async { self.objects.get(&self.file(name)).await?.bytes().await };
        match read.await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(name, error.into())),
        }
    }

    /// Removes all files of a folder.
    ///
    /// # Errors
    /// [`OriginalsError::File`].
    pub async fn clear(&self, folder: &str) -> Result<(), OriginalsError> {
        let folder = self.file(folder);
        let listed = self.objects.list(Some(&folder));
        let listed = listed.map_ok(|object| object.location);
        let removed = self.objects.delete_stream(Box::pin(listed));
        let removed: Result<Vec<_>, Error> = removed.try_collect().await;
        removed.map_err(|error| failed(folder.as_ref(), error.into()))?;
        Ok(())
    }

    fn file(&self, name: &str) -> object_store::path::Path {
        self.path(&format!("{FILES_FOLDER}/{name}"))
    }
}

fn failed(name: &str, source: std::io::Error) -> OriginalsError {
    OriginalsError::File {
        name: name.to_owned(),
        source,
    }
}
