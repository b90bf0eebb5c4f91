//! Where originals lie: a local folder, or a bucket of S3, Google Cloud or Azure, each store's own under its id.
//! Knows places, paths and patience; not which original is an image's.

mod files;

use std::{
    error::Error as _,
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, future, stream};
use metrics::histogram;
use object_store::{Error, ObjectStore, ObjectStoreExt, path::Path};
use uuid::Uuid;

use crate::{
    index::{OriginalKey, is_full},
    system::storage::StorageLocation,
    telemetry::ORIGINAL_SECONDS,
};

/// How long a place may take to store or give an original.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a failed write stands for whether originals can be written.
const ASK: Duration = Duration::from_secs(5);
/// How often it is logged that they cannot.
const REMIND: Duration = Duration::from_secs(60);
/// How many originals are being removed at a time.
const REMOVALS: usize = 16;
/// What marks a place as that of a store.
const MARK: &str = "scihcgrl";
const MARK_TEXT: &str =
    "The originals of the data folder with this id, by the names that its records have.\n";

/// Every failure of the place of originals.
#[derive(Debug, thiserror::Error)]
pub enum OriginalsError {
    /// Not a place.
    #[error(
        "originals cannot be kept at {place}; give a folder, or a URL such as s3://bucket/path, gs://bucket/path or \
         az://container/path, with its settings in the environment"
    )]
    StorageLocation {
        /// What was given.
        place: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A place that lacks what the store has put into its own.
    #[error(
        "the originals of the data folder are not at {place}: there is no {id}/{MARK}; start with --originals and the place where they are"
    )]
    Elsewhere {
        /// What was given.
        place: String,
        /// The store's id.
        id: Uuid,
    },
    /// The disk that they are on is full.
    #[error("the disk that the originals are on is full")]
    DiskFull,
    /// The place failed.
    #[error("the originals could not be {what}")]
    Failed {
        /// What was tried: `read`, `written`.
        what: &'static str,
        /// Why not.
        source: Error,
    },
    /// A file beside the originals could not be sent or fetched.
    #[error("the file {name} beside the originals: {source}")]
    File {
        /// Which.
        name: String,
        /// Why not.
        source: io::Error,
    },
    /// The place did not answer.
    #[error("the originals could not be {what} within {} s", PATIENCE.as_secs())]
    Late {
        /// What was tried: `read`, `written`.
        what: &'static str,
    },
}

/// The originals of one store.
pub struct Originals {
    objects: Arc<dyn ObjectStore>,
    /// The store's part of it.
    root: Path,
    /// That part, where it is a local folder.
    folder: Option<PathBuf>,
    /// Since when originals cannot be written, if they cannot.
    away: Mutex<Option<Away>>,
}

/// That originals cannot be written.
#[derive(Clone, Copy)]
struct Away {
    /// When this was last logged.
    logged: Instant,
    /// When the last write failed.
    tried: Instant,
}

impl Originals {
    /// The originals of the store with an id, in a folder, which is made if it is not there, or at a URL. `kept` tells that there may be
    /// some already, so that the place has to be marked as theirs.
    ///
    /// # Errors
    /// [`OriginalsError`]: a place that cannot be used is told when it is opened.
    pub async fn open(place: &str, id: Uuid, kept: bool) -> Result<Self, OriginalsError> {
        let cannot = |source| OriginalsError::StorageLocation {
            place: place.to_owned(),
            source,
        };
        let StorageLocation {
            objects,
            root,
            folder,
        } = StorageLocation::open(place).map_err(cannot)?;
        let originals = Originals {
            objects,
            root: root.join(id.to_string()),
            folder: folder.map(|folder| folder.join(id.to_string())),
            away: Mutex::default(),
        };
        let mark = originals.root.clone().join(MARK);
        let marked = patient("read", originals.objects.head(&mark)).await;
        match marked {
            Ok(_) => {}
            Err(OriginalsError::Failed {
                source: Error::NotFound { .. },
                ..
            }) if kept => {
                let place = place.to_owned();
                return Err(OriginalsError::Elsewhere { place, id });
            }
            Err(OriginalsError::Failed {
                source: Error::NotFound { .. },
                ..
            }) => {
                let put = originals.objects.put(&mark, MARK_TEXT.into());
                patient("written", put)
                    .await
                    .map_err(|error| cannot(error.into()))?;
            }
            Err(error) => return Err(cannot(error.into())),
        }
        Ok(originals)
    }

    /// Whether they are in a folder of this machine.
    pub fn are_local(&self) -> bool {
        self.folder.is_some()
    }

    /// Keeps an original; returns when it is durable.
    ///
    /// # Errors
    /// [`OriginalsError::Failed`], [`Late`](OriginalsError::Late); it may be kept all the same.
    pub async fn put(&self, name: OriginalKey, bytes: Bytes) -> Result<(), OriginalsError> {
        self.write(&name.to_string(), bytes).await
    }

    /// As [`put`](Self::put), by the name that [`list`](Self::list) tells.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn write(&self, name: &str, bytes: Bytes) -> Result<(), OriginalsError> {
        let path = self.path(name);
        let put = patient("written", self.objects.put(&path, bytes.into()));
        let written = timed("put", put).await.map(drop);
        self.note(&written);
        written
    }

    /// Whether originals cannot be written at present, by the last write. If that was a while ago, a few bytes are written meanwhile.
    pub fn are_away(self: &Arc<Self>) -> bool {
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(away) = &mut *away else {
            return false;
        };
        if away.tried.elapsed() >= ASK {
            away.tried = Instant::now();
            let originals = self.clone();
            tokio::spawn(async move { originals.write(MARK, MARK_TEXT.into()).await });
        }
        true
    }

    /// Takes note of what came of a write. Logs a failure, and the like of it once a minute.
    fn note(&self, written: &Result<(), OriginalsError>) {
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        *away = match written {
            Ok(()) => {
                if away.is_some() {
                    tracing::info!("originals are written again");
                }
                None
            }
            Err(error) => {
                let logged = away.map(|away| away.logged);
                let logged = logged.filter(|logged| logged.elapsed() < REMIND);
                if logged.is_none() {
                    tracing::error!(?error, "originals cannot be written, so images are refused");
                }
                Some(Away {
                    logged: logged.unwrap_or(now),
                    tried: now,
                })
            }
        };
    }

    /// An original, if it is there.
    ///
    /// # Errors
    /// [`OriginalsError::Failed`], [`Late`](OriginalsError::Late).
    pub async fn get(&self, name: OriginalKey) -> Result<Option<Bytes>, OriginalsError> {
        self.read(&name.to_string()).await
    }

    /// As [`get`](Self::get), by the name that [`list`](Self::list) tells.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn read(&self, name: &str) -> Result<Option<Bytes>, OriginalsError> {
        let path = self.path(name);
        let read = async { self.objects.get(&path).await?.bytes().await };
        match timed("get", patient("read", read)).await {
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

    /// Removes originals, and what was begun of them, and tells which are gone, those that were not there included.
    pub async fn remove(&self, names: &[OriginalKey]) -> Vec<OriginalKey> {
        let each = names.iter().copied().map(|name| async move {
            let removed = match self.objects.delete(&self.path(&name.to_string())).await {
                Ok(()) | Err(Error::NotFound { .. }) => self.remove_begun(name),
                Err(error) => Err(error.into()),
            };
            if let Err(error) = &removed {
                tracing::warn!(%name, %error, "an original that no image has could not be removed; it is tried again");
            }
            removed.ok().map(|()| name)
        });
        let each = stream::iter(each).buffer_unordered(REMOVALS);
        each.filter_map(future::ready).collect().await
    }

    /// All that is there by name, with its size.
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
        listed.retain(|(name, _)| name != MARK && name.split('/').next() != Some(files::FILES));
        Ok(listed)
    }

    fn path(&self, name: &str) -> Path {
        name.split('/')
            .fold(self.root.clone(), |path, part| path.join(part))
    }

    /// A folder's file is written beside its place and then moved there; a process that was killed leaves the first of the two, which the
    /// object store does not show.
    fn remove_begun(&self, name: OriginalKey) -> io::Result<()> {
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        match fs::remove_file(folder.join(format!("{name}#1"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

async fn patient<T>(
    what: &'static str,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, OriginalsError> {
    let done = tokio::time::timeout(PATIENCE, work).await;
    done.map_err(|_| OriginalsError::Late { what })?
        .map_err(|source| match is_disk_full(&source) {
            true => OriginalsError::DiskFull,
            false => OriginalsError::Failed { what, source },
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
