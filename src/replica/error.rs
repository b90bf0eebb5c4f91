//! Why a replica cannot start.

use crate::index::IndexError;

/// Why a replica cannot start, or cannot exchange models.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// No server answers.
    #[error("no NATS server answers at {servers}: {reason}")]
    Servers { servers: String, reason: String },
    /// The file of credentials cannot be read.
    #[error("the NATS credentials cannot be read: {source}")]
    Credentials { source: std::io::Error },
    /// The stream cannot be created or read.
    #[error(
        "the stream {stream} of the log: {reason}; it needs JetStream, and as many servers as --nats-replicas says"
    )]
    Stream { stream: String, reason: String },
    /// The stream was not made for a gallery.
    #[error(
        "the stream {stream} is not the log of a gallery: {member} is missing from its metadata or malformed; give another --nats-gallery"
    )]
    NotALog {
        stream: String,
        member: &'static str,
    },
    /// The gallery's codes were made by another model.
    #[error(
        "the gallery's codes are of model {gallery}, not of {given}; start with --model and that model's file"
    )]
    Model { gallery: String, given: String },
    /// The replica needs a part of the log that was trimmed.
    #[error(
        "the log begins at {first}, and this replica has applied it up to {position}: the writes in between are gone; restore a newer snapshot \
         of the gallery to an empty data folder"
    )]
    LogTrimmed {
        /// The first position of the log.
        first: u64,
        /// The last position that was applied here.
        position: u64,
    },
    /// The log lost writes that this replica has applied, and has other writes in their place.
    #[error(
        "the write at position {position} of the log is not the one that was applied here: the log has lost acknowledged writes, and this replica \
         may be the last that has them; keep its data folder, and start with an empty one"
    )]
    LogDiverged { position: u64 },
    /// A file of a checkpoint cannot be read or written.
    #[error("the file of a model cannot be read or written: {source}")]
    File {
        #[from]
        source: std::io::Error,
    },
    #[error(transparent)]
    Index(#[from] IndexError),
}
