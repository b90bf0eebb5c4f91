//! Labelled images wherever a data set keeps them: which classes there are, which items, and the bytes of each when asked for.
//! Knows files and their layouts; neither networks nor rewards. A source a file below; what training makes of them is `pictures`.

pub mod ahead;
pub mod archive;
pub mod augment;
pub mod folder;
mod manifest;
pub mod pictures;
#[cfg(test)]
mod samples;
pub mod source;
pub mod split;
pub mod tree;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Error, ErrorKind, Result as IoResult},
    path::{Path, PathBuf},
};

use ::image::RgbImage;
use bytes::Bytes;

use super::TrainError;
use scihcgrl_image as image;
use source::Source;

/// What is read, for messages.
const KINDS: &str = "a folder of class folders, a .tar, .tar.gz or .tgz archive of such, or a .csv or .jsonl manifest";

/// How many things that are left out are named.
const TOLD: usize = 20;

/// What a data set holds. With one class an image `sets` is `[[0], [1], …]`, so that a set's number is the class's.
#[derive(Debug)]
pub struct Collection {
    /// Where it was opened.
    pub path: PathBuf,
    /// Class names, sorted: a class is its index.
    pub classes: Vec<String>,
    /// The sets of classes that occur, each sorted and distinct; a set is its index. Only
    /// [`of_manifest`](Self::of_manifest) makes an empty one: that of images without labels.
    pub sets: Vec<Vec<usize>>,
    /// The images, in an order that depends on the data set alone.
    pub items: Vec<Item>,
    /// What lies in the data set and is no part of it, and why. Sidecars, thumbnails and hidden files are not told.
    pub left_out: Vec<(String, String)>,
}

/// One image of a data set, not yet read.
#[derive(Debug)]
pub struct Item {
    /// What it is called in the data set.
    pub name: String,
    /// The classes it is of: an index into [`Collection::sets`].
    pub set: usize,
    source: Source,
    form: Form,
}

/// What an item's bytes are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Form {
    /// An image file.
    Encoded,
    /// A square picture as three planes, red, green and blue, of so many pixels a side.
    Planes(u32),
}

/// An image as a source lists it.
pub struct Found {
    /// What it is called in the data set.
    pub name: String,
    /// Its classes.
    pub labels: Vec<String>,
    /// Where its bytes are.
    pub source: Source,
    /// What they are.
    pub form: Form,
}

impl Item {
    /// The whole picture, upright, 8 bits a channel.
    ///
    /// # Errors
    /// Where it cannot be read, or is not a picture ([`image::ImageError`], as `InvalidData`).
    pub fn decode(&self) -> IoResult<RgbImage> {
        let bytes = self.bytes()?;
        match self.form {
            Form::Planes(side) => planes(&bytes, side),
            Form::Encoded => {
                image::decode_rgb(&bytes).map_err(|error| Error::new(ErrorKind::InvalidData, error))
            }
        }
    }

    /// Its bytes as the data set has them.
    ///
    /// # Errors
    /// Where they cannot be read.
    pub fn bytes(&self) -> IoResult<Bytes> {
        self.source.read()
    }

    /// How many bytes that is.
    pub fn size(&self) -> u64 {
        self.source.size()
    }

    /// The longer side in pixels, from the header alone.
    fn longest(&self) -> Option<u32> {
        if let Form::Planes(side) = self.form {
            return Some(side);
        }
        let (width, height) = image::dimensions(&self.source.read().ok()?)?;
        Some(width.max(height))
    }
}

/// Opens a data set of whichever kind the path holds, to train on, and logs what of it is left out. Lists; reads no picture.
///
/// # Errors
/// As [`list`], and where it has fewer than two classes.
pub fn open(path: &Path) -> Result<Collection, TrainError> {
    list(path)?.told().trainable()
}

/// Lists a data set of whichever kind the path holds; it may be a part of one, of a single class.
///
/// # Errors
/// [`TrainError::Data`] where it is of no kind that is read, is not as its kind should be, or has a class without images.
pub fn list(path: &Path) -> Result<Collection, TrainError> {
    let metadata =
        fs::metadata(path).map_err(|error| wrong(path, format!("{error}; it may be {KINDS}")))?;
    if metadata.is_dir() {
        return folder::open(path);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.to_lowercase();
    match name.rsplit('.').next() {
        Some("tar") => archive::open(path, false),
        Some("tgz") => archive::open(path, true),
        Some("gz") if name.ends_with(".tar.gz") => archive::open(path, true),
        Some("csv") => manifest::csv(path),
        Some("jsonl") => manifest::jsonl(path, true),
        _ => Err(wrong(
            path,
            format!("a file of this name is not read; it may be {KINDS}"),
        )),
    }
}

impl Collection {
    /// All files below some folders as one data set of a single class that says nothing: for those who look at no labels.
    ///
    /// # Errors
    /// [`TrainError::Data`] where a folder cannot be read, or none holds a file.
    pub fn unlabelled(folders: &[PathBuf]) -> Result<Collection, TrainError> {
        let (mut items, mut left_out) = (Vec::new(), Vec::new());
        for path in folders {
            let (tree, unreadable) = folder::walk(path)?;
            left_out.extend(unreadable);
            items.extend(tree.files.into_iter().map(|file| Item {
                name: file.relative.display().to_string(),
                set: 0,
                source: Source::File(file.path),
                form: Form::Encoded,
            }));
        }
        let path = folders.first().cloned().unwrap_or_default();
        if items.is_empty() {
            return Err(wrong(
                &path,
                "it holds no file; images in folders of any depth are wanted",
            ));
        }
        let collection = Collection {
            path,
            classes: vec!["unlabelled".to_owned()],
            sets: vec![vec![0]],
            items,
            left_out,
        };
        Ok(collection.told())
    }

    /// The images that a manifest names (`.jsonl`), which need no labels. The set of those without any has no class.
    ///
    /// # Errors
    /// [`TrainError::Data`] if the manifest cannot be read, or names a file that is not there.
    pub fn of_manifest(path: &Path) -> Result<Collection, TrainError> {
        manifest::jsonl(path, false)
    }

    /// Several data sets as one, their classes put together by name.
    ///
    /// # Errors
    /// [`TrainError::Data`] where there is none.
    pub fn join(all: Vec<Collection>) -> Result<Collection, TrainError> {
        let path = all
            .first()
            .map_or(PathBuf::new(), |first| first.path.clone());
        let found = all.into_iter().flat_map(
            |Collection {
                 classes,
                 sets,
                 items,
                 ..
             }| {
                items.into_iter().map(move |item| Found {
                    labels: sets[item.set]
                        .iter()
                        .map(|&class| classes[class].clone())
                        .collect(),
                    name: item.name,
                    source: item.source,
                    form: item.form,
                })
            },
        );
        collect(&path, &[], found.collect())?.trainable()
    }

    /// Logs what is left out.
    pub fn told(self) -> Self {
        for (name, reason) in self.left_out.iter().take(TOLD) {
            tracing::warn!(name, reason, "left out of the data set");
        }
        if let Some(more @ 1..) = self.left_out.len().checked_sub(TOLD) {
            tracing::warn!("{more} more are left out of the data set");
        }
        self
    }

    /// Returns itself if there are classes to tell apart.
    ///
    /// # Errors
    /// [`TrainError::Data`] if it has fewer than two.
    pub fn trainable(self) -> Result<Collection, TrainError> {
        let reason = match &self.classes[..] {
            [] => "it has no class with images; at least two are needed".to_owned(),
            [only] => format!("'{only}' is its only class; at least two are needed"),
            _ => return Ok(self),
        };
        Err(wrong(&self.path, reason))
    }

    /// The classes of an item.
    pub fn classes_of(&self, item: &Item) -> impl Iterator<Item = &String> {
        let classes = self.sets[item.set].iter();
        classes.map(|&class| &self.classes[class])
    }
}

/// The picture of three planes.
fn planes(bytes: &[u8], side: u32) -> IoResult<RgbImage> {
    let plane = (side * side) as usize;
    if bytes.len() != 3 * plane {
        return Err(Error::new(
            ErrorKind::UnexpectedEof,
            "the record is cut off",
        ));
    }
    Ok(RgbImage::from_fn(side, side, |x, y| {
        let at = (y * side + x) as usize;
        ::image::Rgb([bytes[at], bytes[plane + at], bytes[2 * plane + at]])
    }))
}

/// A data set that is not what it should be, and what would be right.
pub fn wrong(path: &Path, reason: impl Into<String>) -> TrainError {
    TrainError::Data {
        path: path.to_owned(),
        reason: reason.into(),
    }
}

/// Numbers the classes and the sets of what a source found. `classes` are those that there must be images of.
///
/// # Errors
/// [`TrainError::Data`] if one of `classes` has no image.
pub fn collect(
    path: &Path,
    classes: &[String],
    found: Vec<Found>,
) -> Result<Collection, TrainError> {
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    places.extend(classes.iter().map(|class| (class.as_str(), 0)));
    let mut sets: BTreeMap<Vec<usize>, usize> = BTreeMap::new();
    let labels = || found.iter().flat_map(|found| &found.labels);
    places.extend(labels().map(|label| (label.as_str(), 0)));
    let filled: BTreeSet<&String> = labels().collect();
    if let Some(empty) = classes.iter().find(|class| !filled.contains(class)) {
        return Err(wrong(
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
    sets.extend(found.iter().map(|found| (numbered(&found.labels), 0)));
    for (number, set) in sets.values_mut().enumerate() {
        *set = number;
    }
    let of: Vec<usize> = found
        .iter()
        .map(|found| sets[&numbered(&found.labels)])
        .collect();
    let classes = places.into_keys().map(str::to_owned).collect();
    let items = found.into_iter().zip(of).map(|(found, set)| Item {
        name: found.name,
        set,
        source: found.source,
        form: found.form,
    });
    Ok(Collection {
        path: path.to_owned(),
        classes,
        items: items.collect(),
        sets: sets.into_keys().collect(),
        left_out: Vec::new(),
    })
}
