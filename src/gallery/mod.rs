//! The gallery: images in the index with their originals in a folder or an object store, which never disagree, whatever is killed when.
//! Knows in which order the two are written; neither how either is kept nor what codes are made of.

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

/// How many originals are removed at a time.
const AT_ONCE: usize = 1000;
/// When those that could not be removed are tried again.
const AGAIN: Duration = Duration::from_secs(60);

/// Every failure of a gallery.
#[derive(Debug, thiserror::Error)]
pub enum GalleryError {
    /// The index refused or failed.
    #[error(transparent)]
    Index {
        /// With what.
        #[from]
        source: IndexError,
    },
    /// The place of originals refused or failed.
    #[error(transparent)]
    Originals {
        /// With what.
        #[from]
        source: OriginalsError,
    },
    /// A write panicked.
    #[error("storing an image panicked")]
    Panicked {
        /// With what.
        #[from]
        source: JoinError,
    },
}

/// What a gallery was found to be.
#[derive(Debug)]
pub struct Verified {
    /// What is damaged.
    pub damage: Vec<Damage>,
    /// The originals that no image has, by name, with the size of each. A service removes its own when it starts; those that a replica left
    /// behind stay.
    pub unused: Vec<(String, u64)>,
}

/// A handle on a gallery, cheap to clone.
#[derive(Clone)]
pub struct Gallery {
    index: Index,
    originals: Arc<Originals>,
    /// Held by whoever removes originals, and shared by those who need all of them to stay.
    removing: Arc<RwLock<()>>,
}

/// The removal of what no image has any more. It ends with the index.
pub struct Removal {
    gallery: Gallery,
    released: Option<mpsc::UnboundedReceiver<OriginalKey>>,
    after: Duration,
}

impl Gallery {
    /// A gallery of an index and the place where its originals are, and what has to run for replaced and deleted originals to be removed.
    pub fn new(index: Index, originals: Originals) -> (Self, Removal) {
        let released = index.released();
        let originals = Arc::new(originals);
        let gallery = Gallery {
            index,
            originals,
            removing: Arc::default(),
        };
        let removal = Removal {
            gallery: gallery.clone(),
            released,
            after: Duration::ZERO,
        };
        (gallery, removal)
    }

    /// The index, for everything but originals.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The originals, for whoever copies them.
    pub fn originals(&self) -> &Originals {
        &self.originals
    }

    /// Whether originals cannot be written at present.
    pub fn originals_are_away(&self) -> bool {
        self.originals.are_away()
    }

    /// While this is held no original is removed.
    pub async fn keep_originals(&self) -> OwnedRwLockReadGuard<()> {
        self.removing.clone().read_owned().await
    }

    /// Inserts or replaces an image with its original, if the one with its id is as expected, and tells whether it is new; returns when both
    /// are durable. A caller that stops waiting does not undo it.
    ///
    /// # Errors
    /// [`GalleryError`]; the gallery is as it was then.
    pub async fn put(
        &self,
        image: NewImage,
        original: Bytes,
        expected: Precondition,
    ) -> Result<(Record, bool), GalleryError> {
        let gallery = self.clone();
        tokio::spawn(async move { gallery.store(image, original, expected).await }).await?
    }

    /// Stores images that were stored before, with their codes by the active model, their times, and in their order.
    ///
    /// # Errors
    /// [`GalleryError`]; some of them are stored then.
    pub async fn adopt(&self, images: Vec<ImportedImage>) -> Result<(), GalleryError> {
        let generation = self.index.generations().active.number;
        let named = images.into_iter().map(|image| async move {
            let name = self.index.name_original().await?;
            let bytes = image.original.len() as u64;
            self.originals.put(name, image.original).await?;
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
                original: Some(name),
                times: Some(image.times),
            })
        });
        let named = try_join_all(named).await?;
        // They are asked for in this order, and so they are stored.
        try_join_all(named.into_iter().map(|image| self.index.put(image))).await?;
        Ok(())
    }

    /// The original lies there before a row has its name. What is cut short or fails leaves a loose name, which is released when the store
    /// is opened again and not before: a late upload may still arrive, and a write that failed may be found done. Not so one that was
    /// refused.
    async fn store(
        &self,
        mut image: NewImage,
        original: Bytes,
        expected: Precondition,
    ) -> Result<(Record, bool), GalleryError> {
        self.index.check()?;
        let name = self.index.name_original().await?;
        image.bytes = original.len() as u64;
        image.original = Some(name);
        self.originals.put(name, original).await?;
        let stored = self.index.put_if(image, expected).await;
        // Those are of the write itself, and it is not found done later.
        if let Err(
            IndexError::PreconditionFailed { .. }
            | IndexError::Generation { .. }
            | IndexError::Lengths { .. }
            | IndexError::WrongCodes { .. }
            | IndexError::Sketch { .. }
            | IndexError::Payload { .. }
            | IndexError::Full,
        ) = &stored
        {
            self.index.let_go(name);
        }
        Ok(stored?)
    }

    /// The original of a record; none where the record was replaced or deleted since it was read.
    ///
    /// # Errors
    /// [`GalleryError`], among them [`IndexError::Corrupt`] where the original is not what the record says.
    pub async fn original(&self, record: &Record) -> Result<Option<Bytes>, GalleryError> {
        self.original_of(&record.id, record.original, record.bytes)
            .await
    }

    /// The original that an image has, or had a moment ago, by its name and size; as [`original`](Self::original) otherwise.
    ///
    /// # Errors
    /// As [`original`](Self::original).
    pub async fn original_of(
        &self,
        id: &ImageId,
        original: Option<OriginalKey>,
        bytes: u64,
    ) -> Result<Option<Bytes>, GalleryError> {
        let Some(name) = original else {
            return Ok(Some(Bytes::new()));
        };
        let damage = |why: String| IndexError::Corrupt {
            what: format!("the original of image {id}, {name}"),
            why,
        };
        match self.originals.get(name).await? {
            Some(found) if found.len() as u64 == bytes => Ok(Some(found)),
            Some(found) => {
                let why = format!("it has {} bytes instead of {bytes}", found.len());
                Err(damage(why).into())
            }
            None => {
                let (index, id) = (self.index.clone(), id.clone());
                let now = tokio::task::spawn_blocking(move || index.get(&id)).await??;
                // It was replaced or deleted meanwhile.
                if now.and_then(|now| now.original) != Some(name) {
                    return Ok(None);
                }
                Err(damage("it is missing".to_owned()).into())
            }
        }
    }

    /// Removes originals that no image has any more; which of them are to be removed again later.
    async fn remove(&self, names: &[OriginalKey]) -> Result<Vec<OriginalKey>, IndexError> {
        let mut left = Vec::new();
        // A message of the log has the names of one chunk.
        for names in names.chunks(AT_ONCE) {
            let removing = self.removing.write().await;
            let gone = self.originals.remove(names).await;
            drop(removing);
            let is_gone: HashSet<OriginalKey> = gone.iter().copied().collect();
            left.extend(names.iter().filter(|name| !is_gone.contains(name)));
            if gone.is_empty() {
                continue;
            }
            match self.index.forget(gone.clone()).await {
                Ok(()) => {}
                Err(IndexError::Closed) => return Err(IndexError::Closed),
                // It takes none just now; what is gone may be removed again.
                Err(_) => left.extend(gone),
            }
        }
        Ok(left)
    }

    /// Reads all there is of the index, and compares it with what lies where originals are kept.
    ///
    /// # Errors
    /// [`GalleryError`] if either gives up.
    pub async fn verify(&self) -> Result<Verified, GalleryError> {
        let index = self.index.clone();
        let read = tokio::task::spawn_blocking(move || {
            Ok::<_, IndexError>((index.verify()?, index.originals()?))
        });
        let (mut damage, named) = read.await??;
        let mut lying: BTreeMap<String, u64> = self.originals.list().await?.into_iter().collect();
        for (name, bytes) in named {
            let why = match lying.remove(&name.to_string()) {
                Some(found) if found == bytes => continue,
                Some(found) => format!("it has {found} bytes instead of {bytes}"),
                None => "it is missing".to_owned(),
            };
            let what = format!("the original {name}");
            damage.push(Damage { what, why });
        }
        let unused = lying.into_iter().collect();
        Ok(Verified { damage, unused })
    }
}

impl Removal {
    /// The same, but what no image has any more is left for a while, for those who do not know it yet.
    pub fn after(self, after: Duration) -> Self {
        Removal { after, ..self }
    }

    /// Removes what was replaced or deleted when it is due, and what could not be removed once more later. It ends with the index.
    pub async fn run(self) {
        let Some(mut released) = self.released else {
            return;
        };
        let gallery = self.gallery;
        let (mut due, mut names) = (BTreeMap::<Instant, Vec<OriginalKey>>::new(), Vec::new());
        loop {
            let next = due.keys().next().copied();
            tokio::select! {
                count = released.recv_many(&mut names, AT_ONCE) => {
                    if count == 0 {
                        return;
                    }
                    let then = Instant::now() + self.after;
                    due.entry(then).or_default().append(&mut names);
                }
                () = until(next) => {
                    let Some((_, names)) = due.pop_first() else {
                        continue;
                    };
                    match gallery.remove(&names).await {
                        Ok(left) if left.is_empty() => {}
                        Ok(left) => due.entry(Instant::now() + AGAIN).or_default().extend(left),
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

/// Returns at a time; never if there is none.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
