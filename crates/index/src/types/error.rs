//! The errors of the index. Callers decide which of them are the client's fault.

use std::{fmt, path::PathBuf, sync::Arc};

use serde::Serialize;
use uuid::Uuid;

use crate::{
    code::Length,
    types::{
        field::{FieldPath, FieldType},
        filter::error::FilterError,
        id::{ImageId, InvalidId, OriginalKey},
        revision::Revision,
    },
};

/// An error of the index.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// Another process holds the lock of the data folder.
    #[error("the data folder {} is already in use by another process; stop that process or choose another folder",
        path.display())]
    InUse {
        /// The data folder.
        path: PathBuf,
        /// The error of taking sled's lock.
        source: sled::Error,
    },
    /// The data folder cannot be opened.
    #[error("the data folder {} cannot be opened", path.display())]
    Open {
        /// The data folder.
        path: PathBuf,
        /// The cause.
        source: sled::Error,
    },
    /// The folder holds no index, and none may be created.
    #[error("the data folder {} holds no index", path.display())]
    Empty {
        /// The data folder.
        path: PathBuf,
    },
    /// The store could not be read or written.
    #[error("the store failed to read or write")]
    Store {
        /// The error of sled.
        #[from]
        source: sled::Error,
    },
    /// The disk has no space for a write. Writes resume when it has.
    #[error(
        "the disk of the data folder is full: the write needs {needed} bytes and {free} are free; writes resume when there is space"
    )]
    DiskFull {
        /// The bytes that the write needs, with what sled may write in addition.
        needed: u64,
        /// The bytes that are free.
        free: u64,
    },
    /// The store is being reopened after a failed write.
    #[error("the store is being reopened after a failed write; retry soon")]
    Reopening,
    /// The restore of the folder was not completed.
    #[error(
        "the restore of the data folder {} was not completed; empty the folder and restore it again",
        path.display()
    )]
    Restoring {
        /// The data folder.
        path: PathBuf,
    },
    /// A copy of the store could not be written or read.
    #[error("the store could not be copied: {source}")]
    Copy {
        /// The cause.
        source: std::io::Error,
    },
    /// The store has a schema that this version does not read.
    #[error(
        "the data folder has schema {found}, but this version reads schema {supported}; {}",
        if found < supported { "export it with the version that wrote it, and import the archive with this one" } else { "it was written by a newer version; use that version" }
    )]
    Schema {
        /// The schema version of the store.
        found: u32,
        /// The schema version that this version reads and writes.
        supported: u32,
    },
    /// The codes in the store are of another model.
    #[error(
        "the data folder holds codes of model {stored}, not {given}; \
         start with model {stored}, or import the images again into another data folder"
    )]
    Model {
        /// The model that made the stored codes.
        stored: String,
        /// The model that the caller requires.
        given: String,
    },
    /// The codes in the store were made in another numeric type, so some of their bits differ.
    #[error(
        "the data folder holds codes made in {stored}, not {given}; start with --precision {stored} or auto"
    )]
    Precision {
        /// The numeric type of the stored codes.
        stored: String,
        /// The numeric type that the caller requires.
        given: String,
    },
    /// The data folder does not belong to the gallery.
    #[error(
        "the data folder {} does not belong to gallery {gallery}, whose log this is; start with an empty data folder, which is filled from the log",
        path.display()
    )]
    OtherGallery {
        /// The data folder.
        path: PathBuf,
        /// The gallery.
        gallery: Uuid,
    },
    /// The log began with this store, but the store has changed since.
    #[error(
        "the log of gallery {gallery} began with the data folder {} in another state; start with an \
         empty data folder and a snapshot of the gallery; if nothing follows the log yet, you can \
         also remove its stream and start again",
        path.display()
    )]
    OtherBeginning {
        /// The data folder.
        path: PathBuf,
        /// The gallery.
        gallery: Uuid,
    },
    /// The data folder follows a log but was opened without one.
    #[error(
        "the data folder {} follows the log of a gallery and would diverge without it; start with --nats",
        path.display()
    )]
    Follows {
        /// The data folder.
        path: PathBuf,
    },
    /// The log did not accept a write, or not in time.
    #[error("the write could not be appended to the replication log: {reason}")]
    Log {
        /// The reason.
        reason: String,
    },
    /// The code lengths are not those of the store, or there are none.
    #[error("the code lengths are {given}; they must be {expected}")]
    Lengths {
        /// The given lengths.
        given: String,
        /// The right lengths.
        expected: String,
    },
    /// A part of the store is damaged.
    #[error("the data folder is damaged: {what}: {why}; restore it from a snapshot")]
    Corrupt {
        /// The name of the damaged part.
        what: String,
        /// The kind of damage.
        why: String,
    },
    /// The text is not an image id.
    #[error(transparent)]
    Id {
        /// The text and the rule that it breaks.
        #[from]
        source: InvalidId,
    },
    /// The text is not the position of a listing.
    #[error("'{found}' is not a position in a listing; give the `next` of the previous page")]
    Cursor {
        /// The first 40 characters of the text.
        found: String,
    },
    /// The payload could be written but not read back.
    #[error("the payload is nested too deeply; at most 120 levels are safe")]
    Payload,
    /// The filter is malformed, or does not suit the fields.
    #[error(transparent)]
    Filter {
        /// What is wrong with it.
        #[from]
        source: FilterError,
    },
    /// Images cannot be ordered by this field.
    #[error("images cannot be ordered so: {why}")]
    Order {
        /// What is wrong with the field, and what would be right.
        why: String,
    },
    /// A filter tests text by prefix or range and lets too many different texts through.
    #[error(
        "the filter lets more than {most} different texts through a comparison by prefix or range; \
         give a longer prefix or a smaller range"
    )]
    ManyKeywords {
        /// The maximum number of different texts.
        most: usize,
    },
    /// The index holds no codes of the query's length.
    #[error("the index holds no codes of {given} bits, only of {expected}")]
    NoSuchLength {
        /// The length of the query's code.
        given: Length,
        /// The lengths that the index has.
        expected: String,
    },
    /// The image does not have one code of each length, ascending.
    #[error("the code lengths of the image are {found}; they must be {expected}, in this order")]
    WrongCodes {
        /// The lengths of the index.
        expected: String,
        /// The lengths given.
        found: String,
    },
    /// The sketch is malformed, missing, or of another size than those of the index.
    #[error("the sketch cannot be used: {why}")]
    Sketch {
        /// The reason, and what would be right.
        why: String,
    },
    /// The generation does not exist, or is not the one that the operation needs.
    #[error("generation {given} does not exist or cannot be used here; the active one is {active}")]
    Generation {
        /// The generation that the caller named.
        given: u32,
        /// The active generation.
        active: u32,
    },
    /// The standby generation cannot be activated: it lacks codes.
    #[error("generation {number} cannot be activated yet: {missing} images have no codes in it")]
    Unfinished {
        /// The generation.
        number: u32,
        /// The number of images without codes.
        missing: u64,
    },
    /// The image does not meet the precondition of the write.
    #[error(
        "precondition failed: {}",
        match present {
            Some(_) if *is_filtered => format!("image '{id}' does not pass the filter"),
            Some(present) => format!("image '{id}' is at revision \"{present}\""),
            None => format!("there is no image '{id}'"),
        }
    )]
    PreconditionFailed {
        /// The image.
        id: ImageId,
        /// Its revision, if it exists.
        present: Option<Revision>,
        /// True if the image meets the part about revisions and does not pass the filter.
        is_filtered: bool,
    },
    /// The field is declared with another type.
    #[error(
        "the field {path} is declared with the type {present}, not {given}; delete it first to \
         declare it with another type"
    )]
    FieldType {
        /// The path of the field.
        path: FieldPath,
        /// The type of the declared field.
        present: FieldType,
        /// The type that the caller named.
        given: FieldType,
    },
    /// The maximum number of fields is declared.
    #[error("the index has {most} fields, which is the maximum; delete one to declare another")]
    ManyFields {
        /// The maximum number of fields.
        most: usize,
    },
    /// The path is that of a property of images.
    #[error(
        "{path} is a property of every image and cannot be a field; filters can test it without \
         a declaration"
    )]
    ReservedField {
        /// The path.
        path: FieldPath,
    },
    /// The field does not exist.
    #[error("there is no field with number {number}; it must be one of the declared fields")]
    NoSuchField {
        /// The number that the caller named.
        number: u32,
    },
    /// The key of the original belongs to another image.
    #[error("the original {key} belongs to another image; each upload needs a new key")]
    OriginalKey {
        /// The key.
        key: OriginalKey,
    },
    /// All sequence numbers are used up.
    #[error(
        "the index has used all 4,294,967,295 sequence numbers; import its images into another \
         data folder"
    )]
    Full,
    /// The commit of the write's group failed.
    #[error("the write was not stored: {source}")]
    Write {
        /// The error of the commit.
        source: Arc<IndexError>,
    },
    /// A page could not be encoded.
    #[error("a page could not be encoded")]
    Encode {
        /// The error of the encoder.
        #[from]
        source: postcard::Error,
    },
    /// The writer has stopped: the index was closed, or the store lost acknowledged commits.
    #[error(
        "the index accepts no more writes: it was closed or lost acknowledged commits; open it again"
    )]
    Closed,
}

/// What a caller can do about an error.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Wait for disk space.
    DiskFull,
    /// Retry soon.
    Temporary,
    /// Change the write: it fails in every store.
    Refused,
    /// None of these.
    Other,
}

impl IndexError {
    /// Lists every variant, so that a new one is not classified by accident.
    fn class(&self) -> Class {
        match self {
            IndexError::DiskFull { .. } => Class::DiskFull,
            IndexError::Log { .. } | IndexError::Reopening => Class::Temporary,
            IndexError::Write { source } => match source.class() {
                // The store is reopened after a failed commit.
                _ if matches!(**source, IndexError::Store { .. }) => Class::Temporary,
                // A group of writes failed, each of which may be right.
                Class::Refused => Class::Other,
                class => class,
            },
            IndexError::Lengths { .. }
            | IndexError::Payload
            | IndexError::WrongCodes { .. }
            | IndexError::Sketch { .. }
            | IndexError::Generation { .. }
            | IndexError::Unfinished { .. }
            | IndexError::PreconditionFailed { .. }
            | IndexError::FieldType { .. }
            | IndexError::ManyFields { .. }
            | IndexError::ReservedField { .. }
            | IndexError::NoSuchField { .. }
            | IndexError::Filter { .. }
            | IndexError::OriginalKey { .. }
            | IndexError::Full => Class::Refused,
            IndexError::InUse { .. }
            | IndexError::Open { .. }
            | IndexError::Empty { .. }
            | IndexError::Store { .. }
            | IndexError::Restoring { .. }
            | IndexError::Copy { .. }
            | IndexError::Schema { .. }
            | IndexError::Model { .. }
            | IndexError::Precision { .. }
            | IndexError::OtherGallery { .. }
            | IndexError::OtherBeginning { .. }
            | IndexError::Follows { .. }
            | IndexError::Corrupt { .. }
            | IndexError::Id { .. }
            | IndexError::Cursor { .. }
            | IndexError::ManyKeywords { .. }
            | IndexError::Order { .. }
            | IndexError::NoSuchLength { .. }
            | IndexError::Encode { .. }
            | IndexError::Closed => Class::Other,
        }
    }

    /// Returns true if the cause is a full disk.
    pub fn is_disk_full(&self) -> bool {
        self.class() == Class::DiskFull
    }

    /// Returns true if the write itself is at fault: then it fails in every store. Any other
    /// failure is that of one store alone.
    pub fn is_refusal(&self) -> bool {
        self.class() == Class::Refused
    }

    /// Returns true if a retry may succeed soon: the log does not answer, the disk is full, or the
    /// store is being reopened.
    pub fn is_temporary(&self) -> bool {
        matches!(self.class(), Class::Temporary | Class::DiskFull)
    }
}

/// Formats lengths for a message.
pub fn list_lengths(lengths: impl IntoIterator<Item = Length>) -> String {
    let words: Vec<String> = lengths
        .into_iter()
        .map(|length| length.to_string())
        .collect();
    if words.is_empty() {
        "none".to_owned()
    } else {
        words.join(", ")
    }
}

/// A part of the store that cannot be read or contradicts the rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The name of the damaged part.
    pub what: String,
    /// The kind of damage.
    pub why: String,
}

impl Damage {
    /// Damage of the end of the store: acknowledged commits are lost.
    pub(crate) fn lost_commits(acknowledged: u64, stored: u64) -> Self {
        Damage {
            what: "the end of the store".to_owned(),
            why: format!(
                "{acknowledged} commits were acknowledged, but the last one stored is {stored}"
            ),
        }
    }
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
