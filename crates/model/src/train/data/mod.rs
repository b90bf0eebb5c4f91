//! Data sets, and the batches that training makes of them.
//!
//! - `open`: opens a data set of any format
//! - `formats`: folders, archives and manifests
//! - `collection`: the classes and items of a data set
//! - `source`: an item's bytes
//! - `split`: queries, training images and database
//! - `pictures`: decoded images in memory
//! - `augment`: random changes
//! - `prefetch`: prepares batches for a device in advance
//! - `batches`: decodes items without keeping them
//! - `parallel`: maps items on all cores
//! - `samples`: small data sets for tests

pub mod augment;
pub mod batches;
pub mod collection;
pub mod formats;
pub mod open;
mod parallel;
pub mod pictures;
pub mod prefetch;
pub mod source;
pub mod split;

#[cfg(test)]
mod samples;

pub use collection::{Collection, Content, Item, ListedImage, collect, invalid};
pub use formats::{archive, folder, tree};
pub use open::{list, open};
