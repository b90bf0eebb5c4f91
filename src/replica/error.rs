//! Why a replica cannot start. Knows no exit codes.

use crate::index::IndexError;

/// Every failure of starting a replica.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// No server answers.
    #[error("no NATS server answers at {servers}: {reason}")]
    Servers {
        /// What was given.
        servers: String,
        /// Why not.
        reason: String,
    },
    /// The file of credentials cannot be read.
    #[error("the NATS credentials cannot be read: {source}")]
    Credentials {
        /// Why not.
        source: std::io::Error,
    },
    /// The stream cannot be made or asked for.
    #[error(
        "the stream {stream} of the log: {reason}; it needs JetStream, and as many servers as --nats-replicas says"
    )]
    Stream {
        /// Its name.
        stream: String,
        /// Why not.
        reason: String,
    },
    /// A stream that was not made for a gallery.
    #[error(
        "the stream {stream} is no log of a gallery: its metadata lack {member}; give another --nats-gallery"
    )]
    NoGallery {
        /// Its name.
        stream: String,
        /// What is missing or malformed.
        member: &'static str,
    },
    /// The gallery's codes are of another model.
    #[error(
        "the gallery's codes are of model {gallery}, not of {given}; start with --model and that model's file"
    )]
    Model {
        /// The gallery's.
        gallery: String,
        /// What was given.
        given: String,
    },
    /// The log's beginning is gone, and the replica needs it.
    #[error(
        "the log begins at {first}, and this replica has applied {position}: what is between is gone; restore a newer snapshot of the gallery to \
         an empty data folder"
    )]
    Gone {
        /// The first position there is.
        first: u64,
        /// The last that was applied.
        position: u64,
    },
    /// The log lost writes that this replica has applied, and has others by now.
    #[error(
        "the log has another write at {position} than was applied here: it has lost some that it had acknowledged, which this replica may be the \
         last to have; keep its data folder, and start with an empty one"
    )]
    Other {
        /// Where they differ.
        position: u64,
    },
    /// A file of a checkpoint cannot be read or written.
    #[error("a file of a model: {source}")]
    File {
        /// Why not.
        #[from]
        source: std::io::Error,
    },
    /// The index failed.
    #[error(transparent)]
    Index {
        /// With what.
        #[from]
        source: IndexError,
    },
}
