//! Why a model cannot take its place among those that answer.
//! Knows no status codes, and nothing of who asked.

use tokio::task::JoinError;

use crate::{
    index::IndexError,
    inference::{batch::BatchError, registry::RegistryError},
    replica::ReplicaError,
};

/// Every failure of a change of models.
#[derive(Debug, thiserror::Error)]
pub enum ServingError {
    /// No checkpoint of this id.
    #[error("there is no model {id} in the registry")]
    NoModel {
        /// Which.
        id: String,
    },
    /// The model's codes are searched.
    #[error("model {id} is active")]
    Active {
        /// Which.
        id: String,
    },
    /// A numeric type that this program does not know.
    #[error("the codes' type, {precision}, is not known")]
    Precision {
        /// What the store says.
        precision: String,
    },
    /// The registry failed.
    #[error(transparent)]
    Registry {
        /// With what.
        #[from]
        source: RegistryError,
    },
    /// Another replica's model could not be had, or this one's not be given.
    #[error(transparent)]
    Replica {
        /// Why not.
        #[from]
        source: ReplicaError,
    },
    /// The index refused or failed.
    #[error(transparent)]
    Index {
        /// With what.
        #[from]
        source: IndexError,
    },
    /// The model's workers could not be started.
    #[error(transparent)]
    Batch {
        /// Why not.
        #[from]
        source: BatchError,
    },
    /// Loading a model panicked.
    #[error("loading the model panicked")]
    Panicked {
        /// With what.
        #[from]
        source: JoinError,
    },
}
