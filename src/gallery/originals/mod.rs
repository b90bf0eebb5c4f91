//! Storage of originals in a local folder, or in a bucket of S3, Google Cloud or Azure. The
//! originals of a store are under the store's id. Responsible for paths and timeouts. The index
//! keeps track of which image has which original.
//!
//! - `files`: temporary files of jobs

mod files;

use std::{
    error::Error as _,
    fs, io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, future, stream};
use metrics::histogram;
use object_store::{Error, ObjectStore, ObjectStoreExt, path::Path};
use parking_lot::Mutex;
use uuid::Uuid;

use crate::{
    index::{OriginalKey, is_full},
    system::storage::StorageLocation,
    telemetry::ORIGINAL_SECONDS,
};

/// Maximum time to read or write one original.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// After a failed write, the time until the next attempt.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// Minimum time between two log lines about failed writes.
const LOG_INTERVAL: Duration = Duration::from_mins(1);
const PARALLEL_REMOVALS: usize = 16;
/// A file that marks a folder as that of a store's originals.
const MARKER: &str = "scihcgrl";
const MARKER_TEXT: &str =
    "The originals of the data folder with this id, by the names that its records have.\n";

#[derive(Debug, thiserror::Error)]
pub enum OriginalsError {
    #[error(
        "originals cannot be stored at {location}; give a folder, or a URL such as s3://bucket/path, gs://bucket/path or \
         az://container/path, with the bucket's settings in the environment"
    )]
    InvalidLocation {
        location: String,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A location without this store's marker.
    #[error(
        "the originals of this data folder are not at {location}: {id}/{MARKER} does not exist; give their location with --originals"
    )]
    MissingMarker {
        location: String,
        /// The store's id.
        id: Uuid,
    },
    #[error("the disk that the originals are on is full")]
    DiskFull,
    #[error("the originals could not be {what}")]
    Failed {
        /// `read` or `written`.
        what: &'static str,
        source: Error,
    },
    #[error("the file {name} next to the originals could not be read or written: {source}")]
    File { name: String, source: io::Error },
    #[error("the originals could not be {what} within {} s", REQUEST_TIMEOUT.as_secs())]
    Timeout {
        /// `read` or `written`.
        what: &'static str,
    },
}

/// The originals of one store.
pub struct Originals {
    objects: Arc<dyn ObjectStore>,
    /// The path of this store's originals.
    root: Path,
    /// The same path, if it is a local folder.
    folder: Option<PathBuf>,
    /// Set while originals cannot be written.
    outage: Mutex<Option<Outage>>,
}

#[derive(Clone, Copy)]
struct Outage {
    last_logged: Instant,
    last_tried: Instant,
}

impl Originals {
    /// Opens the originals of the store `id` in a folder, which is created if necessary, or at a
    /// URL. If `must_exist`, the location must have the store's marker already.
    ///
    /// # Errors
    /// [`OriginalsError`] if the location cannot be used.
    pub async fn open(location: &str, id: Uuid, must_exist: bool) -> Result<Self, OriginalsError> {
        let cannot = |source| OriginalsError::InvalidLocation {
            location: location.to_owned(),
            source,
        };
        let StorageLocation {
            objects,
            root,
            folder,
        } = StorageLocation::open(location).map_err(cannot)?;
        let originals = Originals {
            objects,
            root: root.join(id.to_string()),
            folder: folder.map(|folder| folder.join(id.to_string())),
            outage: Mutex::default(),
        };
        let marker = originals.root.clone().join(MARKER);
        let found = with_timeout("read", originals.objects.head(&marker)).await;
        match found {
            Ok(_) => {}
            Err(OriginalsError::Failed {
                source: Error::NotFound { .. },
                ..
            }) if must_exist => {
                let location = location.to_owned();
                return Err(OriginalsError::MissingMarker { location, id });
            }
            Err(OriginalsError::Failed {
                source: Error::NotFound { .. },
                ..
            }) => {
                let put = originals.objects.put(&marker, MARKER_TEXT.into());
                with_timeout("written", put)
                    .await
                    .map_err(|error| cannot(error.into()))?;
            }
            Err(error) => return Err(cannot(error.into())),
        }
        Ok(originals)
    }

    /// Returns true if the originals are in a local folder.
    pub fn is_local(&self) -> bool {
        self.folder.is_some()
    }

    /// Stores an original. Returns when it is durable.
    ///
    /// # Errors
    /// [`OriginalsError::Failed`], [`Timeout`](OriginalsError::Timeout); the original may then
    /// still be stored.
    pub async fn put(&self, key: OriginalKey, bytes: Bytes) -> Result<(), OriginalsError> {
        self.write(&key.to_string(), bytes).await
    }

    /// Like [`put`](Self::put), by a name as [`list`](Self::list) returns it.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn write(&self, name: &str, bytes: Bytes) -> Result<(), OriginalsError> {
        let path = self.path(name);
        let put = with_timeout("written", self.objects.put(&path, bytes.into()));
        let written = timed("put", put).await.map(drop);
        self.record_outcome(&written);
        written
    }

    /// Returns false if the last write failed. Writes the marker in the background if that was
    /// `PROBE_INTERVAL` ago, to find out if writes work again.
    pub fn is_writable(self: &Arc<Self>) -> bool {
        let mut outage = self.outage.lock();
        let Some(outage) = &mut *outage else {
            return true;
        };
        if outage.last_tried.elapsed() >= PROBE_INTERVAL {
            outage.last_tried = Instant::now();
            let originals = self.clone();
            tokio::spawn(async move { originals.write(MARKER, MARKER_TEXT.into()).await });
        }
        false
    }

    /// Starts or ends the outage after a write. Logs failures at most once a [`LOG_INTERVAL`].
    fn record_outcome(&self, written: &Result<(), OriginalsError>) {
        let mut outage = self.outage.lock();
        let now = Instant::now();
        *outage = match written {
            Ok(()) => {
                if outage.is_some() {
                    tracing::info!("originals can be written again");
                }
                None
            }
            Err(error) => {
                let last_logged = outage.map(|outage| outage.last_logged);
                let last_logged = last_logged.filter(|last| last.elapsed() < LOG_INTERVAL);
                if last_logged.is_none() {
                    tracing::error!(?error, "originals cannot be written; images are refused");
                }
                Some(Outage {
                    last_logged: last_logged.unwrap_or(now),
                    last_tried: now,
                })
            }
        };
    }

    /// Returns an original, if it exists.
    ///
    /// # Errors
    /// [`OriginalsError::Failed`], [`Timeout`](OriginalsError::Timeout).
    pub async fn get(&self, key: OriginalKey) -> Result<Option<Bytes>, OriginalsError> {
        self.read(&key.to_string()).await
    }

    /// Like [`get`](Self::get), by a name as [`list`](Self::list) returns it.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn read(&self, name: &str) -> Result<Option<Bytes>, OriginalsError> {
        let path = self.path(name);
        let read = async { self.objects.get(&path).await?.bytes().await };
        match timed("get", with_timeout("read", read)).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(OriginalsError::Failed {
                source: Error::NotFound { .. },
                ..
            }) => Ok(None),
            Err(error) => {
                tracing::error!(name, ?error, "an original cannot be read");
                Err(error)
            }
        }
    }

    /// Removes originals and partial files of them. Returns the keys that have no original now,
    /// including those that had none before.
    pub async fn remove(&self, keys: &[OriginalKey]) -> Vec<OriginalKey> {
        let each = keys.iter().copied().map(|key| async move {
            let removed = match self.objects.delete(&self.path(&key.to_string())).await {
                Ok(()) | Err(Error::NotFound { .. }) => self.remove_partial(key),
                Err(error) => Err(error.into()),
            };
            if let Err(error) = &removed {
                tracing::warn!(%key, %error, "cannot remove an unreferenced original; will retry");
            }
            removed.ok().map(|()| key)
        });
        let each = stream::iter(each).buffer_unordered(PARALLEL_REMOVALS);
        each.filter_map(future::ready).collect().await
    }

    /// Returns the name and size of every original.
    ///
    /// # Errors
    /// [`OriginalsError::Failed`].
    pub async fn list(&self) -> Result<Vec<(String, u64)>, OriginalsError> {
        let listed = self.objects.list(Some(&self.root)).map_ok(|object| {
            let parts = object.location.prefix_match(&self.root);
            let parts: Vec<String> = parts
                .into_iter()
                .flatten()
                .map(|part| part.as_ref().to_owned())
                .collect();
            (parts.join("/"), object.size)
        });
        let listed: Result<Vec<_>, _> = listed.try_collect().await;
        let mut listed = listed.map_err(|source| OriginalsError::Failed {
            what: "read",
            source,
        })?;
        listed.retain(|(name, _)| {
            name != MARKER && name.split('/').next() != Some(files::FILES_FOLDER)
        });
        Ok(listed)
    }

    fn path(&self, name: &str) -> Path {
        name.split('/').fold(self.root.clone(), Path::join)
    }

    /// Removes the partial file that a killed process leaves in a local folder. The object store
    /// writes such a file first, then renames it, and does not list it.
    fn remove_partial(&self, key: OriginalKey) -> io::Result<()> {
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        match fs::remove_file(folder.join(format!("{key}#1"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

async fn with_timeout<T>(
    what: &'static str,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, OriginalsError> {
    let done = tokio::time::timeout(REQUEST_TIMEOUT, work).await;
    done.map_err(|_| OriginalsError::Timeout { what })?
        .map_err(|source| {
            if is_disk_full(&source) {
                OriginalsError::DiskFull
            } else {
                OriginalsError::Failed { what, source }
            }
        })
}

fn is_disk_full(error: &Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(is_full) {
            return true;
        }
        cause = error.source();
    }
    false
}

async fn timed<T>(operation: &'static str, work: impl Future<Output = T>) -> T {
    let started = Instant::now();
    let done = work.await;
    histogram!(ORIGINAL_SECONDS, "operation" => operation).record(started.elapsed());
    done
}
