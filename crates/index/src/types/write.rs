//! Writes as a log keeps them, and their outcomes. Stores that apply the same writes in the same order are the same, however the
//! writes are grouped.

use std::{future::Future, pin::Pin};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::{
    code::HashCode,
    types::{
        error::IndexError,
        generation::Generation,
        id::{ImageId, OriginalKey},
        record::{NewImage, Record, Times},
        revision::Precondition,
        sketch::Sketch,
    },
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
    Forget(Vec<OriginalKey>),
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
        expected: Precondition,
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
pub enum Outcome {
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

impl Write {
    /// Whether it changes generations.
    pub fn changes_generations(&self) -> bool {
        match self {
            Write::Begin(_) | Write::Activate(_) | Write::Discard => true,
            Write::If { write, .. } => write.changes_generations(),
            _ => false,
        }
    }

    pub(crate) fn put(mut image: NewImage) -> Self {
        image.times.get_or_insert_with(Times::now);
        Write::Put(Box::new(image))
    }

    /// The same, if an image is as expected then.
    pub(crate) fn only_if(self, id: ImageId, expected: Precondition) -> Self {
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

/// What an image's codes are in the generation beside.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Recoded {
    /// Its id.
    pub id: ImageId,
    /// The original that they are of.
    pub original: Option<OriginalKey>,
    /// One of each length, ascending; none where the original could not be read, which leaves the image out of searches.
    pub codes: Vec<HashCode>,
    /// Its sketch by the same model, if it makes any and the original could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sketch: Option<Sketch>,
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
    ) -> Pin<Box<dyn Future<Output = Result<Outcome, IndexError>> + Send + '_>>;
}
