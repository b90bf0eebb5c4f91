//! What can go wrong in the index, each case with what was found and what would be right.
//! Knows no status codes: which of these is whose fault is for the callers to decide.

use std::{fmt, path::PathBuf, sync::Arc};

use serde::Serialize;
use uuid::Uuid;

use crate::{
    code::Length,
    types::{
        id::{ImageId, InvalidId, OriginalKey},
        revision::Revision,
    },
};

/// Every failure of the index.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// Another process holds the lock of the data folder.
    #[error("the data folder {} is already in use by another process; stop that one or choose another folder",
        path.display())]
    InUse {
        /// The folder asked for.
        path: PathBuf,
        /// What sled said of its lock.
        source: sled::Error,
    },
    /// The data folder cannot be opened.
    #[error("the data folder {} cannot be opened", path.display())]
    Open {
        /// The folder asked for.
        path: PathBuf,
        /// Why not.
        source: sled::Error,
    },
    /// There is no index in the folder, where one was to be read.
    #[error("the data folder {} holds no index", path.display())]
    Empty {
        /// The folder asked for.
        path: PathBuf,
    },
    /// Reading or writing the store failed.
    #[error("the store failed to read or write")]
    Store {
        /// What sled said.
        #[from]
        source: sled::Error,
    },
    /// The disk has no room for a write. Writes go on when it has.
    #[error(
        "the disk of the data folder is full: a write needs {needed} bytes and {free} are free; writes go on when there is room"
    )]
    DiskFull {
        /// How many bytes the write needs, with what the store may write besides.
        needed: u64,
        /// How many are free.
        free: u64,
    },
    /// The store is opened again after a write failed.
    #[error("the store is being opened again after a failed write; try again soon")]
    Reopening,
    /// A folder that was not wholly restored.
    #[error(
        "the data folder {} was being restored from a snapshot, which was not completed; empty it and restore it again",
        path.display()
    )]
    Restoring {
        /// Which.
        path: PathBuf,
    },
    /// A copy of the store could not be written or read.
    #[error("the copy of the store: {source}")]
    Copy {
        /// Why not.
        source: std::io::Error,
    },
    /// The store was written under a schema this program does not know.
    #[error(
        "the data folder has schema {found}, and this program reads schema {supported}; {}",
        if found < supported { "export it with the version that wrote it, and import the archive with this one" } else { "a newer version wrote it; use that one" }
    )]
    Schema {
        /// The version in the store.
        found: u32,
        /// The version this program reads and writes.
        supported: u32,
    },
    /// The codes in the store come from another model.
    #[error(
        "the data folder holds codes of model {stored}, not of {given}; \
         start with model {stored}, or import the images again into another data folder"
    )]
    Model {
        /// The model that made the stored codes.
        stored: String,
        /// The model the caller came with.
        given: String,
    },
    /// The codes in the store were made in another numeric type, so that some of their bits are others.
    #[error(
        "the data folder holds codes made in {stored}, not in {given}; start with --precision {stored}, or auto"
    )]
    Precision {
        /// That of the stored codes.
        stored: String,
        /// What the caller makes codes in.
        given: String,
    },
    /// A data folder that does not follow the log of the gallery that it is opened for.
    #[error(
        "the data folder {} is not of the gallery {gallery} that the log is of; start with an empty data folder, which is filled from the log",
        path.display()
    )]
    OtherGallery {
        /// The folder.
        path: PathBuf,
        /// The gallery.
        gallery: Uuid,
    },
    /// A data folder that the log of its gallery did not begin with as it is now.
    #[error(
        "the log of the gallery {gallery} began with the data folder {} in another state; start with an empty data folder and a snapshot of the \
         gallery, or, where nobody follows the log yet, remove its stream and start again",
        path.display()
    )]
    OtherBeginning {
        /// The folder.
        path: PathBuf,
        /// The gallery.
        gallery: Uuid,
    },
    /// A data folder that follows a log, opened without one.
    #[error(
        "the data folder {} follows the log of a gallery, and without it would become another; start with --nats",
        path.display()
    )]
    Follows {
        /// The folder.
        path: PathBuf,
    },
    /// The log did not take a write, or not in time.
    #[error("the log of the gallery took no write: {reason}")]
    Log {
        /// Why not.
        reason: String,
    },
    /// The lengths asked for are not those of the store, or there are none.
    #[error("codes of {given} bits were asked of the index, which takes {expected}")]
    Lengths {
        /// What the caller came with.
        given: String,
        /// What would be right.
        expected: String,
    },
    /// What is stored contradicts itself or cannot be read.
    #[error("the data folder is damaged: {what}: {why}; restore it from a snapshot")]
    Corrupt {
        /// The thing that is damaged, by name.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// Not an image id.
    #[error(transparent)]
    Id {
        /// What was given, and the rule it breaks.
        #[from]
        source: InvalidId,
    },
    /// Not where a listing goes on.
    #[error("'{found}' is not where a listing goes on; give the `next` of the page before")]
    Cursor {
        /// What was given, at most its first 40 characters.
        found: String,
    },
    /// A payload that could be written but not read back.
    #[error("the payload cannot be stored: it is nested too deeply, 120 levels are safe")]
    Payload {
        /// What reading it back said.
        source: serde_json::Error,
    },
    /// A search by a code of a length the index does not hold.
    #[error("the index holds no codes of {given} bits, only of {expected}")]
    NoSuchLength {
        /// The length searched by.
        given: Length,
        /// The lengths there are.
        expected: String,
    },
    /// An image came with other codes than one of each length, ascending.
    #[error(
        "an image needs one code of each of {expected} bits, in this order; it came with {found}"
    )]
    WrongCodes {
        /// The lengths of the index.
        expected: String,
        /// The lengths given.
        found: String,
    },
    /// Bytes or text that are no sketch, or one that is not comparable to those of the index.
    #[error("the sketch cannot be used: {why}")]
    Sketch {
        /// Why not, and what would be right.
        why: String,
    },
    /// Codes of a generation that the store does not have or no longer searches.
    #[error("codes of generation {given} were given or asked for; the active one is {active}")]
    Generation {
        /// The one the caller came with.
        given: u32,
        /// The one that is searched.
        active: u32,
    },
    /// A generation that is to be activated and lacks codes.
    #[error(
        "{missing} images have no codes of generation {number} yet; it cannot be activated before they have"
    )]
    Unfinished {
        /// The generation.
        number: u32,
        /// How many images lack codes.
        missing: u64,
    },
    /// A write with a condition that the image does not meet.
    #[error(
        "{}, which the condition of the request rules out",
        match present {
            Some(present) => format!("image '{id}' is as of \"{present}\" now"),
            None => format!("there is no image '{id}'"),
        }
    )]
    PreconditionFailed {
        /// Which.
        id: ImageId,
        /// What it is as of, if it is there.
        present: Option<Revision>,
    },
    /// An image came with the name of an original that another image has.
    #[error("the original {name} belongs to another image; each upload needs a name of its own")]
    OriginalKey {
        /// The name given.
        name: OriginalKey,
    },
    /// All sequence numbers have been given away.
    #[error(
        "the index has numbered 4,294,967,295 images since it was made and has no number left; \
         import what it holds into another data folder"
    )]
    Full,
    /// The group of writes that this one was committed with failed.
    #[error("the write was not stored: {source}")]
    Write {
        /// Why not.
        source: Arc<IndexError>,
    },
    /// A page could not be put into bytes.
    #[error("a page could not be encoded")]
    Encode {
        /// What the encoder said.
        #[from]
        source: postcard::Error,
    },
    /// The writer was stopped: by a shutdown, or because the store lost commits that were acknowledged.
    #[error(
        "the index accepts no more writes: it was closed, or it lost commits that were acknowledged; open it again"
    )]
    Closed,
}

impl IndexError {
    /// Whether the cause is a disk without room.
    pub fn is_disk_full(&self) -> bool {
        match self {
            IndexError::DiskFull { .. } => true,
            IndexError::Write { source } => source.is_disk_full(),
            _ => false,
        }
    }

    /// Whether the same may be done soon: the log does not answer just now, the disk is full, or the store is opened again.
    pub fn passes(&self) -> bool {
        match self {
            IndexError::Log { .. } | IndexError::DiskFull { .. } | IndexError::Reopening => true,
            IndexError::Write { source } => {
                source.passes() || matches!(**source, IndexError::Store { .. })
            }
            _ => false,
        }
    }
}

/// Lengths as a message shows them.
pub fn spell(lengths: impl IntoIterator<Item = Length>) -> String {
    let words: Vec<String> = lengths
        .into_iter()
        .map(|length| length.to_string())
        .collect();
    if words.is_empty() {
        "no".to_owned()
    } else {
        words.join(", ")
    }
}

/// Something in the store that cannot be read or contradicts the rest, found when it was opened or checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The thing that is damaged, by name.
    pub what: String,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}

impl From<Damage> for IndexError {
    fn from(Damage { what, why }: Damage) -> Self {
        IndexError::Corrupt { what, why }
    }
}
