//! The gallery: images in the index, with their originals in a folder or an object store.
//! Responsible for the order of writes that keeps the two consistent if the process is killed.
//!
//! - `limits`: labels and payloads
//! - `originals`: storage of original files

mod limits;
mod originals;

use std::{
    collections::{BTreeMap, HashSet},
    future::pending,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::try_join_all;
use tokio::{
    sync::{OwnedRwLockReadGuard, RwLock, mpsc},
    task::JoinError,
    time::{Instant, sleep_until},
};

use crate::index::{
    Codes, Damage, ImageId, ImportedImage, Index, IndexError, NewImage, OriginalKey, Precondition,
    Record,
};

pub use limits::{
    LimitError, MAX_LABELS, check_each_label, check_integers, check_labels, check_payload,
};
pub use originals::{Originals, OriginalsError};

const REMOVAL_BATCH: usize = 1000;
const RETRY_DELAY: Duration = Duration::from_mins(1);

#[derive(Debug, thiserror::Error)]
pub enum GalleryError {
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Originals(#[from] OriginalsError),
    #[error("storing an image panicked")]
    Panicked {
        #[from]
        source: JoinError,
    },
}

/// The result of [`Gallery::verify`].
#[derive(Debug)]
pub struct Verified {
    pub damage: Vec<Damage>,
    /// The unreferenced originals: the name and size of each. A service without a log removes its
    /// own when it starts; those of replicas stay.
    pub unreferenced: Vec<(String, u64)>,
}

/// A handle on a gallery, cheap to clone.
#[derive(Clone)]
pub struct Gallery {
    index: Index,
    originals: Arc<Originals>,
    /// Locked for writing while originals are removed, for reading by callers that need them to
    /// stay.
    removal: Arc<RwLock<()>>,
}

/// The task that removes unreferenced originals. It ends when the index is closed.
pub struct OriginalsCleanup {
    gallery: Gallery,
    released: Option<mpsc::UnboundedReceiver<OriginalKey>>,
    delay: Duration,
}

impl Gallery {
    /// Returns the gallery, and the task that removes its replaced and deleted originals.
    pub fn new(index: Index, originals: Originals) -> (Self, OriginalsCleanup) {
        let released = index.released_originals();
        let originals = Arc::new(originals);
        let gallery = Gallery {
            index,
            originals,
            removal: Arc::default(),
        };
        let cleanup = OriginalsCleanup {
            gallery: gallery.clone(),
            released,
            delay: Duration::ZERO,
        };
        (gallery, cleanup)
    }

    pub fn index(&self) -> &Index {
        &self.index
    }

    pub fn originals(&self) -> &Originals {
        &self.originals
    }

    /// Returns false if the last write of an original failed.
    pub fn can_write_originals(&self) -> bool {
        self.originals.is_writable()
    }

    /// Prevents the removal of originals until the guard is dropped.
    pub async fn pause_cleanup(&self) -> OwnedRwLockReadGuard<()> {
        self.removal.clone().read_owned().await
    }

    /// Inserts or replaces an image with its original if the precondition holds. Returns when both
    /// are durable, with true if the image is new. Dropping the future does not undo the write.
    ///
    /// # Errors
    /// [`GalleryError`]; the gallery is then unchanged.
    pub async fn put(
        &self,
        image: NewImage,
        original: Bytes,
        expected: Precondition,
    ) -> Result<(Record, bool), GalleryError> {
        let gallery = self.clone();
        tokio::spawn(async move { gallery.store(image, original, expected).await }).await?
    }

    /// Stores exported images in the given order, with their times and their codes of the active
    /// model.
    ///
    /// # Errors
    /// [`GalleryError`]; some of the images may then be stored.
    pub async fn import(&self, images: Vec<ImportedImage>) -> Result<(), GalleryError> {
        let generation = self.index.generations().active.number;
        let uploaded = images.into_iter().map(|image| async move {
            let key = self.index.new_original_key().await?;
            let bytes = image.original.len() as u64;
            self.originals.put(key, image.original).await?;
            Ok::<_, GalleryError>(NewImage {
                id: image.id,
                codes: vec![Codes {
                    generation,
                    codes: image.codes,
                    sketch: image.sketch,
                }],
                labels: image.labels,
                payload: image.payload,
                media_type: image.media_type,
                bytes,
                original: Some(key),
                times: Some(image.times),
            })
        });
        let uploaded = try_join_all(uploaded).await?;
        // The writes are submitted, and therefore stored, in this order.
        try_join_all(uploaded.into_iter().map(|image| self.index.put(image))).await?;
        Ok(())
    }

    /// Writes the original before the row that names it. A write that is interrupted or fails
    /// leaves an unreferenced original. That is removed only when the store is opened again: a late
    /// upload may still arrive, and a failed write may turn out to be stored. After a refused write
    /// the original is removed at once.
    async fn store(
        &self,
        mut image: NewImage,
        original: Bytes,
        expected: Precondition,
    ) -> Result<(Record, bool), GalleryError> {
        self.index.check_writable()?;
        let key = self.index.new_original_key().await?;
        image.bytes = original.len() as u64;
        image.original = Some(key);
        self.originals.put(key, original).await?;
        let stored = self.index.put_if(image, expected).await;
        if let Err(error) = &stored
            && error.is_refusal()
            // The original is that of another image.
            && !matches!(error, IndexError::OriginalKey { .. })
        {
            self.index.release_original(key);
        }
        Ok(stored?)
    }

    /// Returns the original of a record; none if the record was replaced or deleted since it was
    /// read.
    ///
    /// # Errors
    /// [`GalleryError`], with [`IndexError::Corrupt`] if the original is missing or has another
    /// size.
    pub async fn original(&self, record: &Record) -> Result<Option<Bytes>, GalleryError> {
        self.original_of(&record.id, record.original, record.bytes)
            .await
    }

    /// Like [`original`](Self::original), by the key and size that the image's record has.
    ///
    /// # Errors
    /// As [`original`](Self::original).
    pub async fn original_of(
        &self,
        id: &ImageId,
        original: Option<OriginalKey>,
        bytes: u64,
    ) -> Result<Option<Bytes>, GalleryError> {
        let Some(key) = original else {
            return Ok(Some(Bytes::new()));
        };
        let damage = |why: String| IndexError::Corrupt {
            what: format!("the original of image {id}, {key}"),
            why,
        };
        match self.originals.get(key).await? {
            Some(found) if found.len() as u64 == bytes => Ok(Some(found)),
            Some(found) => {
                let why = format!("it has {} bytes instead of {bytes}", found.len());
                Err(damage(why).into())
            }
            None => {
                let (index, id) = (self.index.clone(), id.clone());
                let now = tokio::task::spawn_blocking(move || index.get(&id)).await??;
                // The image was replaced or deleted in the meantime.
                if now.and_then(|now| now.original) != Some(key) {
                    return Ok(None);
                }
                Err(damage("it is missing".to_owned()).into())
            }
        }
    }

    /// Removes unreferenced originals. Returns those to try again later.
    async fn remove(&self, keys: &[OriginalKey]) -> Result<Vec<OriginalKey>, IndexError> {
        let mut left = Vec::new();
        // One message of the log has the keys of one chunk.
        for keys in keys.chunks(REMOVAL_BATCH) {
            let guard = self.removal.write().await;
            let gone = self.originals.remove(keys).await;
            drop(guard);
            let is_gone: HashSet<OriginalKey> = gone.iter().copied().collect();
            left.extend(keys.iter().filter(|key| !is_gone.contains(key)));
            if gone.is_empty() {
                continue;
            }
            match self.index.forget_originals(gone.clone()).await {
                Ok(()) => {}
                Err(IndexError::Closed) => return Err(IndexError::Closed),
                // The write is not possible now. Removing an original twice does no harm.
                Err(_) => left.extend(gone),
            }
        }
        Ok(left)
    }

    /// Reads the whole index and compares it with the stored originals.
    ///
    /// # Errors
    /// [`GalleryError`] if the index or the originals' storage fails.
    pub async fn verify(&self) -> Result<Verified, GalleryError> {
        let index = self.index.clone();
        let read = tokio::task::spawn_blocking(move || {
            Ok::<_, IndexError>((index.verify()?, index.originals()?))
        });
        let (mut damage, referenced) = read.await??;
        let mut stored: BTreeMap<String, u64> = self.originals.list().await?.into_iter().collect();
        for (key, bytes) in referenced {
            let why = match stored.remove(&key.to_string()) {
                Some(found) if found == bytes => continue,
                Some(found) => format!("it has {found} bytes instead of {bytes}"),
                None => "it is missing".to_owned(),
            };
            let what = format!("the original {key}");
            damage.push(Damage { what, why });
        }
        let unreferenced = stored.into_iter().collect();
        Ok(Verified {
            damage,
            unreferenced,
        })
    }
}

impl OriginalsCleanup {
    /// Keeps each original for a while after it became unreferenced, for replicas that have not
    /// applied that write yet.
    pub fn with_delay(self, delay: Duration) -> Self {
        OriginalsCleanup { delay, ..self }
    }

    /// Removes originals when they are due, and retries those that could not be removed. Returns
    /// when the index is closed.
    pub async fn run(self) {
        let Some(mut released) = self.released else {
            return;
        };
        let gallery = self.gallery;
        let (mut due, mut keys) = (BTreeMap::<Instant, Vec<OriginalKey>>::new(), Vec::new());
        loop {
            let next = due.keys().next().copied();
            tokio::select! {
                count = released.recv_many(&mut keys, REMOVAL_BATCH) => {
                    if count == 0 {
                        return;
                    }
                    let due_at = Instant::now() + self.delay;
                    due.entry(due_at).or_default().append(&mut keys);
                }
                () = until(next) => {
                    let Some((_, keys)) = due.pop_first() else {
                        continue;
                    };
                    match gallery.remove(&keys).await {
                        Ok(left) if left.is_empty() => {}
                        Ok(left) => due.entry(Instant::now() + RETRY_DELAY).or_default().extend(left),
                        Err(error) => {
                            tracing::debug!(%error, "originals are no longer removed");
                            return;
                        }
                    }
                }
            }
        }
    }
}

/// Waits until a time, or forever if there is none.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
