//! Why a model cannot be served.

use tokio::task::JoinError;

use crate::{
    index::IndexError,
    inference::{batch::BatchError, registry::RegistryError},
    replica::ReplicaError,
};

/// Why the served models could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum ServingError {
    /// The registry has no checkpoint with this id.
    #[error("there is no model {id} in the registry")]
    NoModel { id: String },
    /// The model is the active one.
    #[error("model {id} is active")]
    Active { id: String },
    /// The generation has a numeric type that this program does not know.
    #[error("the codes' numeric type '{precision}' is unknown")]
    Precision { precision: String },
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A model could not be fetched from the other replicas or offered to them.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The model's workers could not be started.
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error("loading the model panicked")]
    Panicked {
        #[from]
        source: JoinError,
    },
}
