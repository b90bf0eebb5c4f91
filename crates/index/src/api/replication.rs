//! Writes as a log keeps them: stores that apply the same in the same order are the same, whatever groups they are committed in.
//! Knows what a write says and how far a store has come; neither where a log is nor who else applies it.

use std::{future::Future, path::Path, pin::Pin, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::{
    Index,
    api::generations::Recoded,
    disk::{key::Key, originals::Original, position::Applied, state::State},
    types::{
        config::Followed,
        error::IndexError,
        generation::{Generation, Generations},
        record::{ImageId, NewImage, Record, Times},
        revision::Expected,
    },
    write::group::Group,
};

/// A write, with all that it depends on besides the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Write {
    /// See [`Index::put`]; the image has its times.
    Put(Box<NewImage>),
    /// See [`Index::patch`].
    Patch {
        /// Of which image.
        id: ImageId,
        /// Its labels then, where they change.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        labels: Option<Vec<String>>,
        /// Its payload then, where it changes.
        #[serde(
            default,
            skip_serializing_if = "Option::is_none",
            deserialize_with = "given"
        )]
        payload: Option<Option<Value>>,
        /// When, in milliseconds since 1970.
        at_ms: u64,
    },
    /// See [`Index::delete`].
    Delete {
        /// Which image.
        id: ImageId,
    },
    /// A block of names for originals is opened.
    OpenBlock,
    /// See [`Index::forget`].
    Forget(Vec<Original>),
    /// See [`Index::begin`].
    Begin(Generation),
    /// See [`Index::recode`].
    Recode {
        /// The generation's number.
        number: u32,
        /// The images with their codes.
        images: Vec<Recoded>,
    },
    /// See [`Index::activate`].
    Activate(u32),
    /// See [`Index::discard`].
    Discard,
    /// A write of an image, done if that is as expected then. A program that knows no conditions stops here, which it must not pass over.
    If {
        /// Which image.
        id: ImageId,
        /// What it has to be.
        expected: Expected,
        /// What is done then.
        write: Box<Write>,
    },
}

/// Null, which removes a payload, is told from nothing, which keeps it.
fn given<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Option<Value>>, D::Error> {
    Option::deserialize(value).map(Some)
}

/// What came of a write.
#[derive(Clone, Debug)]
pub enum Done {
    /// The image, and whether it is new.
    Put(Box<Record>, bool),
    /// The image, if there is one.
    Patched(Option<Box<Record>>),
    /// Whether there was one.
    Deleted(bool),
    /// The block's number.
    Block(u64),
    /// The generation's number.
    Number(u32),
    /// How many images got codes.
    Recoded(usize),
    /// There is nothing to tell.
    Nothing,
}

/// Where the writes of an index go before they are applied to it.
pub trait Log: Send + Sync {
    /// Whether it is likely to take a write.
    ///
    /// # Errors
    /// [`IndexError::Log`], [`Closed`](IndexError::Closed).
    fn check(&self) -> Result<(), IndexError>;

    /// Appends a write, and tells what came of it here once it is applied.
    fn append(
        &self,
        write: Write,
    ) -> Pin<Box<dyn Future<Output = Result<Done, IndexError>> + Send + '_>>;
}

impl Write {
    /// Whether it changes generations.
    pub fn turns(&self) -> bool {
        match self {
            Write::Begin(_) | Write::Activate(_) | Write::Discard => true,
            Write::If { write, .. } => write.turns(),
            _ => false,
        }
    }

    pub(crate) fn put(mut image: NewImage) -> Self {
        image.times.get_or_insert_with(Times::now);
        Write::Put(Box::new(image))
    }

    /// The same, if an image is as expected then.
    pub(crate) fn only_if(self, id: ImageId, expected: Expected) -> Self {
        match expected.is_anything() {
            true => self,
            false => Write::If {
                id,
                expected,
                write: Box::new(self),
            },
        }
    }

    pub(crate) fn patch(
        id: ImageId,
        labels: Option<Vec<String>>,
        payload: Option<Option<Value>>,
    ) -> Self {
        Write::Patch {
            id,
            labels,
            payload,
            at_ms: Times::now().updated_at_ms,
        }
    }
}

impl Index {
    /// Has all writes from now on go to a log first; it [applies](Self::apply) them here. The first that is given stays.
    pub fn follow(&self, log: Arc<dyn Log>) {
        let _ = self.0.log.set(log);
    }

    /// Whether writes are likely to be done, for whoever does something before that would be left behind otherwise.
    ///
    /// # Errors
    /// [`IndexError::DiskFull`], [`Log`](IndexError::Log), [`Closed`](IndexError::Closed).
    pub fn check(&self) -> Result<(), IndexError> {
        self.0.store.room.check()?;
        self.0.log.get().map_or(Ok(()), |log| log.check())
    }

    /// Whether the store lacks commits that were acknowledged. It accepts no more writes then, and only a restart shows what is damaged.
    pub fn is_lost(&self) -> bool {
        self.0.store.database().is_lost()
    }

    /// Whether the disk has room for writes. Once it was full, this asks it.
    pub fn has_room(&self) -> bool {
        self.0.store.room.check().is_ok()
    }

    /// Does a write: by way of the log, if there is one.
    pub(crate) async fn write(&self, write: Write) -> Result<Done, IndexError> {
        match self.0.log.get() {
            None => self.0.writer.submit(|group| group.write(write)).await,
            Some(log) => {
                // Once it is in the log, the caller would have to wait for room.
                self.0.store.room.check()?;
                log.append(write).await
            }
        }
    }

    /// Applies the write at a position of the log, of which all before it were given here, and returns when its turn has come; what came of it
    /// is told when it is durable, along with the position. `own` says whether this store is the one that asked for it, which then
    /// [releases](Self::released) what rows let go of.
    ///
    /// # Errors
    /// [`IndexError::Closed`].
    pub async fn apply(
        &self,
        at: Applied,
        write: Write,
        own: bool,
    ) -> Result<oneshot::Receiver<Result<Done, IndexError>>, IndexError> {
        let apply = move |group: &mut Group<'_>| {
            group.at(at, own);
            group.write(write)
        };
        self.0.writer.accept(apply).await
    }

    /// As [`apply`](Self::apply), of a message that no program can read. The store counts it.
    ///
    /// # Errors
    /// [`IndexError::Closed`].
    pub async fn pass_over(
        &self,
        at: Applied,
    ) -> Result<oneshot::Receiver<Result<Done, IndexError>>, IndexError> {
        let pass_over = move |group: &mut Group<'_>| {
            group.at(at, false);
            group.pass_over();
            Ok(Done::Nothing)
        };
        self.0.writer.accept(pass_over).await
    }

    /// How much of a log the store has applied; none where it never followed one.
    ///
    /// # Errors
    /// [`IndexError::Store`], [`Corrupt`](IndexError::Corrupt).
    pub fn position(&self) -> Result<Option<u64>, IndexError> {
        position(&*self.0.store.db()?)
    }

    /// The last write of a log that the store has applied; none where it never followed one.
    ///
    /// # Errors
    /// As [`position`](Self::position).
    pub fn applied(&self) -> Result<Option<Applied>, IndexError> {
        Applied::read(&*self.0.store.db()?)
    }

    /// A digest of all that the store has, and the position of the log that it is of: two stores of one gallery have the same at the same
    /// position. Writes wait while it reads.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn digest(&self) -> Result<(Option<u64>, String), IndexError> {
        let store = self.0.store.clone();
        let digest = move |_: &mut Group<'_>| {
            let db = store.db()?;
            Ok((position(&db)?, digest(&db)?))
        };
        self.0.writer.submit(digest).await
    }
}

/// See [`Index::digest`]; nothing is written meanwhile.
fn digest(tree: &sled::Tree) -> Result<String, IndexError> {
    let generations = Generations::read(tree)?;
    let kept: Vec<u32> = generations.iter().map(|one| one.number).collect();
    let mut digest = Sha256::new();
    let mut add = |part: &[u8]| {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    };
    for entry in tree.iter() {
        let (key, value) = entry?;
        match Key::from_bytes(&key) {
            // How writes were grouped, and what is left of generations that are gone, is each store's own.
            Some(Key::State) => {
                let state = State::read(tree)?.unwrap_or_default();
                let state = State { commit: 0, ..state };
                add(&postcard::to_stdvec(&state)?);
            }
            Some(Key::Codes { generation, .. } | Key::Sketches { generation, .. })
                if !kept.contains(&generation) => {}
            _ => {
                add(&key);
                add(&value);
            }
        }
    }
    let hex = digest.finalize();
    Ok(hex.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Sees to it that a store that is being opened follows the log of a gallery, or none where it is opened for none, and tells whether it begins
/// to: one that the log began with does. That is before anything else is made of it, for who follows a log numbers images as its fellows do.
pub(crate) fn belong(
    tree: &sled::Tree,
    id: Uuid,
    path: &Path,
    gallery: Option<&Followed>,
) -> Result<bool, IndexError> {
    let path = path.to_owned();
    match (gallery, position(tree)?.is_some()) {
        (None, false) => Ok(false),
        (None, true) => Err(IndexError::Follows { path }),
        (Some(gallery), _) if gallery.id != id => Err(IndexError::OtherGallery {
            path,
            gallery: gallery.id,
        }),
        (Some(_), true) => Ok(false),
        (Some(gallery), false) if gallery.began_with == Some(digest(tree)?) => {
            tree.insert(Key::Position.to_bytes(), Applied::NOTHING.to_bytes())?;
            tree.flush()?;
            Ok(true)
        }
        (Some(gallery), false) => Err(IndexError::OtherBeginning {
            path,
            gallery: gallery.id,
        }),
    }
}

/// How much of a log a store has applied.
pub(crate) fn position(tree: &sled::Tree) -> Result<Option<u64>, IndexError> {
    Ok(Applied::read(tree)?.map(|applied| applied.position))
}
