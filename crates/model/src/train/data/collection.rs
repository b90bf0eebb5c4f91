//! A data set in memory: its classes and its items. The bytes of items are read on demand.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Error, ErrorKind, Result as IoResult},
    path::{Path, PathBuf},
};

use ::image::RgbImage;
use bytes::Bytes;
use scihcgrl_image as image;

use crate::train::{data::source::Source, error::TrainError};

/// Maximum number of omitted files that the log names.
const MAX_LOGGED: usize = 20;

/// A data set. If every image has one class, `sets` is `[[0], [1], …]`, so that a set's number is
/// its class.
#[derive(Debug)]
pub struct Collection {
    /// Path that was opened.
    pub path: PathBuf,
    /// Class names, sorted. A class is an index into them.
    pub classes: Vec<String>,
    /// The sets of classes that occur, each sorted and distinct. A set is an index into them. Only
    /// [`from_manifest`](Self::from_manifest) creates an empty set, for images without labels.
    pub sets: Vec<Vec<usize>>,
    /// The images, in an order that depends only on the data set.
    pub items: Vec<Item>,
    /// Files in the folder or archive that do not belong to the data set, with reasons. Sidecars,
    /// thumbnails and hidden files are not listed.
    pub left_out: Vec<(String, String)>,
}

/// One image of a data set, before it is read.
#[derive(Debug)]
pub struct Item {
    /// Its name in the data set.
    pub name: String,
    /// The set of its classes: an index into [`Collection::sets`].
    pub set: usize,
    pub(crate) source: Source,
    pub(crate) content: Content,
}

/// The content of an item's bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Content {
    /// An image file.
    Encoded,
    /// A square picture with this side in pixels, as three planes: red, green and blue.
    Planes(u32),
}

/// An image as a reader of a format lists it.
pub struct ListedImage {
    /// Its name in the data set.
    pub name: String,
    /// Names of its classes.
    pub labels: Vec<String>,
    /// The source of its bytes.
    pub source: Source,
    /// The content of its bytes.
    pub content: Content,
}

impl Item {
    /// Decodes the whole picture, upright, with 8 bits per channel.
    ///
    /// # Errors
    /// A read error, or `InvalidData` with an [`image::ImageError`] if it is not a picture.
    pub fn decode(&self) -> IoResult<RgbImage> {
        let bytes = self.bytes()?;
        match self.content {
            Content::Planes(side) => planes(&bytes, side),
            Content::Encoded => {
                image::decode_rgb(&bytes).map_err(|error| Error::new(ErrorKind::InvalidData, error))
            }
        }
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// An error of reading.
    pub fn bytes(&self) -> IoResult<Bytes> {
        self.source.read()
    }

    /// Returns the number of its bytes.
    pub fn size(&self) -> u64 {
        self.source.size()
    }

    /// Returns the longer side in pixels. Reads only the header.
    pub(crate) fn longer_side(&self) -> Option<u32> {
        if let Content::Planes(side) = self.content {
            return Some(side);
        }
        let (width, height) = image::dimensions(&self.source.read().ok()?)?;
        Some(width.max(height))
    }
}

impl Collection {
    /// Joins data sets. Classes of the same name become one class.
    ///
    /// # Errors
    /// [`TrainError::Data`] if there is no data set, or fewer than two classes.
    pub fn join(all: Vec<Collection>) -> Result<Collection, TrainError> {
        let path = all
            .first()
            .map_or(PathBuf::new(), |first| first.path.clone());
        let listed = all.into_iter().flat_map(
            |Collection {
                 classes,
                 sets,
                 items,
                 ..
             }| {
                items.into_iter().map(move |item| ListedImage {
                    labels: sets[item.set]
                        .iter()
                        .map(|&class| classes[class].clone())
                        .collect(),
                    name: item.name,
                    source: item.source,
                    content: item.content,
                })
            },
        );
        collect(&path, &[], listed.collect())?.require_two_classes()
    }

    /// Logs the files that are left out.
    pub fn log_left_out(self) -> Self {
        for (name, reason) in self.left_out.iter().take(MAX_LOGGED) {
            tracing::warn!(name, reason, "left out of the data set");
        }
        if let Some(more @ 1..) = self.left_out.len().checked_sub(MAX_LOGGED) {
            tracing::warn!("{more} more files are left out of the data set");
        }
        self
    }

    /// Returns the data set if it has at least two classes.
    ///
    /// # Errors
    /// [`TrainError::Data`] if it has fewer than two.
    pub fn require_two_classes(self) -> Result<Collection, TrainError> {
        let reason = match &self.classes[..] {
            [] => "it has no class with images; at least two are needed".to_owned(),
            [only] => format!("'{only}' is its only class; at least two are needed"),
            _ => return Ok(self),
        };
        Err(invalid(&self.path, reason))
    }

    /// Returns the names of an item's classes.
    pub fn classes_of(&self, item: &Item) -> impl Iterator<Item = &String> {
        let classes = self.sets[item.set].iter();
        classes.map(|&class| &self.classes[class])
    }
}

/// Makes a picture of three planes.
fn planes(bytes: &[u8], side: u32) -> IoResult<RgbImage> {
    let plane = (side * side) as usize;
    if bytes.len() != 3 * plane {
        return Err(Error::new(
            ErrorKind::UnexpectedEof,
            "the record is truncated",
        ));
    }
    Ok(RgbImage::from_fn(side, side, |x, y| {
        let pixel = (y * side + x) as usize;
        ::image::Rgb([bytes[pixel], bytes[plane + pixel], bytes[2 * plane + pixel]])
    }))
}

/// Makes the error for an unusable data set. `reason` states what is wrong and what would be right.
pub fn invalid(path: &Path, reason: impl Into<String>) -> TrainError {
    TrainError::Data {
        path: path.to_owned(),
        reason: reason.into(),
    }
}

/// Makes a data set of listed images, and numbers their classes and sets. Each of `classes` must
/// have an image.
///
/// # Errors
/// [`TrainError::Data`] if one of `classes` has no image.
pub fn collect(
    path: &Path,
    classes: &[String],
    listed: Vec<ListedImage>,
) -> Result<Collection, TrainError> {
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    places.extend(classes.iter().map(|class| (class.as_str(), 0)));
    let mut sets: BTreeMap<Vec<usize>, usize> = BTreeMap::new();
    let labels = || listed.iter().flat_map(|listed| &listed.labels);
    places.extend(labels().map(|label| (label.as_str(), 0)));
    let filled: BTreeSet<&String> = labels().collect();
    if let Some(empty) = classes.iter().find(|class| !filled.contains(class)) {
        return Err(invalid(
            path,
            format!("class '{empty}' has no image; each needs at least one"),
        ));
    }
    for (number, place) in places.values_mut().enumerate() {
        *place = number;
    }
    let numbered = |labels: &[String]| -> Vec<usize> {
        let numbers: BTreeSet<usize> = labels.iter().map(|label| places[label.as_str()]).collect();
        numbers.into_iter().collect()
    };
    sets.extend(listed.iter().map(|listed| (numbered(&listed.labels), 0)));
    for (number, set) in sets.values_mut().enumerate() {
        *set = number;
    }
    let set_numbers: Vec<usize> = listed
        .iter()
        .map(|listed| sets[&numbered(&listed.labels)])
        .collect();
    let classes = places.into_keys().map(str::to_owned).collect();
    let items = listed
        .into_iter()
        .zip(set_numbers)
        .map(|(listed, set)| Item {
            name: listed.name,
            set,
            source: listed.source,
            content: listed.content,
        });
    Ok(Collection {
        path: path.to_owned(),
        classes,
        items: items.collect(),
        sets: sets.into_keys().collect(),
        left_out: Vec::new(),
    })
}
