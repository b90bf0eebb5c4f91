//! The options of jobs that learn or change images, with their defaults and ranges.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::{
    code::Length,
    index::{Filter, ImageId},
    options::{OptionError, check_option, check_range},
    train::unlabelled::MIN_IMAGES,
};

/// JSON parsers represent whole numbers exactly up to here.
const MAX_SEED: u64 = (1 << 53) - 1;

/// When a job's new model becomes the active one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activate {
    /// Not before a request activates it.
    #[default]
    Manual,
    /// As soon as it is trained.
    Always,
    /// As soon as it is trained, if its measured quality is better than its parent's.
    IfBetter,
}

/// An archive that was uploaded with a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Archive {
    /// The SHA-256 of its file, in hexadecimal digits.
    pub sha256: String,
    pub bytes: u64,
}

/// How to fine-tune a model, and on which images. Unknown members are ignored, since a newer
/// program may have written the record of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FineTune {
    /// The parent model. By default the active model.
    #[serde(deserialize_with = "non_null", skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The labels to learn as classes. By default all labels of the images, or all folders of the
    /// archive.
    pub labels: Vec<String>,
    /// The images to learn from. By default all images that have one of these labels.
    pub images: Vec<ImageId>,
    /// Learns only from images that pass it, those to replay included. By default from all.
    #[serde(deserialize_with = "non_null", skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// The uploaded archive of class folders to learn from instead of the gallery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive: Option<Archive>,
    /// How many images of other known classes to learn from too, as a multiple of the number of
    /// images of `labels`. They keep the model from forgetting those classes.
    pub replay: f64,
    /// Maximum number of images per class.
    #[serde(deserialize_with = "non_null", skip_serializing_if = "Option::is_none")]
    pub per_class: Option<usize>,
    /// The share of each class's images that is held out from training, to compare the models.
    pub validation_fraction: f64,
    /// Epochs in which the heads alone learn, on frozen features.
    pub warm_up_epochs: usize,
    /// Epochs in which both networks learn.
    pub epochs: usize,
    /// True if the backbone learns too. Otherwise `epochs` has no effect.
    pub train_backbone: bool,
    /// Images per training step.
    pub batch_size: usize,
    /// The highest learning rate of the heads.
    pub learning_rate: f64,
    /// The highest learning rate of the backbone. By default 0.6 of the heads'.
    #[serde(deserialize_with = "non_null", skip_serializing_if = "Option::is_none")]
    pub backbone_rate: Option<f64>,
    /// The weight of L_g, the REINFORCE term.
    pub reinforce_weight: f64,
    /// The weight of R_g, the differentiable term.
    pub global_weight: f64,
    /// Strength of the random changes of images, 0 to 1.
    pub augment: f64,
    /// The lengths of the codes. If given, they must be the parent's.
    #[serde(deserialize_with = "non_null", skip_serializing_if = "Option::is_none")]
    pub lengths: Option<Vec<Length>>,
    /// The seed of all random numbers.
    pub seed: u64,
    pub activate: Activate,
}

/// Deserializes a member that is present: null is not accepted in place of leaving it out.
fn non_null<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    value: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

impl Default for FineTune {
    fn default() -> Self {
        FineTune {
            model: None,
            labels: Vec::new(),
            images: Vec::new(),
            filter: None,
            archive: None,
            replay: 1.0,
            per_class: None,
            validation_fraction: 0.1,
            warm_up_epochs: 4,
            epochs: 4,
            train_backbone: true,
            batch_size: 64,
            learning_rate: 5e-4,
            backbone_rate: None,
            reinforce_weight: 0.1,
            global_weight: 1.0,
            augment: 0.5,
            lengths: None,
            seed: 0,
            activate: Activate::Manual,
        }
    }
}

impl FineTune {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`OptionError`], for the first invalid option.
    pub fn check(&self) -> Result<(), OptionError> {
        check_option(
            "images",
            self.images.len(),
            self.images.is_empty() || self.archive.is_none(),
            "left out if there is an archive to learn from",
        )?;
        check_option(
            "filter",
            self.filter
                .as_ref()
                .map_or(String::new(), Filter::to_string),
            self.filter.is_none() || self.archive.is_none(),
            "left out if there is an archive to learn from; `labels` selects its folders",
        )?;
        check_range("replay", self.replay, 0.0..=100.0)?;
        check_range("validation_fraction", self.validation_fraction, 0.01..=0.5)?;
        check_range("warm_up_epochs", self.warm_up_epochs, 0..=500)?;
        check_range("epochs", self.epochs, 0..=500)?;
        check_option(
            "warm_up_epochs and epochs",
            0,
            self.warm_up_epochs > 0 || self.train_backbone && self.epochs > 0,
            "at least 1 together; `epochs` counts only if the backbone learns",
        )?;
        check_range("batch_size", self.batch_size, 2..=1024)?;
        check_option(
            "learning_rate",
            self.learning_rate,
            (1e-9..=10.0).contains(&self.learning_rate),
            "above 0 and at most 10",
        )?;
        let backbone_rate = self.backbone_rate.unwrap_or(self.learning_rate);
        check_range("backbone_rate", backbone_rate, 0.0..=10.0)?;
        check_range("reinforce_weight", self.reinforce_weight, 0.0..=100.0)?;
        check_range("global_weight", self.global_weight, 0.0..=100.0)?;
        check_range("augment", self.augment, 0.0..=1.0)?;
        check_range("per_class", self.per_class.unwrap_or(2), 2..=1_000_000)?;
        check_range("seed", self.seed, 0..=MAX_SEED)
    }
}

/// How to adapt a model to the gallery, without labels. Unknown members are ignored, as in
/// [`FineTune`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Adapt {
    /// The parent model, whose backbone is kept. By default the active model.
    #[serde(deserialize_with = "non_null", skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Maximum number of images, drawn at random.
    pub images: usize,
    /// Draws only images that pass it. By default from all.
    #[serde(deserialize_with = "non_null", skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// The share of these images that is held out from training, to compare the models.
    pub validation_fraction: f64,
    /// Epochs in which the heads learn.
    pub epochs: usize,
    /// The seed of all random numbers.
    pub seed: u64,
    pub activate: Activate,
}

impl Default for Adapt {
    fn default() -> Self {
        Adapt {
            model: None,
            images: 20_000,
            filter: None,
            validation_fraction: 0.1,
            epochs: 20,
            seed: 0,
            activate: Activate::Manual,
        }
    }
}

impl Adapt {
    /// Returns the number of images held out of `images`.
    pub(crate) fn held_out(&self, images: usize) -> usize {
        share_of(images, self.validation_fraction).max(1)
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`OptionError`], for the first invalid option.
    pub fn check(&self) -> Result<(), OptionError> {
        check_range("images", self.images, MIN_IMAGES..=50_000)?;
        check_range("validation_fraction", self.validation_fraction, 0.01..=0.5)?;
        check_range("epochs", self.epochs, 1..=500)?;
        check_range("seed", self.seed, 0..=MAX_SEED)
    }
}

/// Which images to delete.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeleteImages {
    /// The images that pass it.
    pub filter: Filter,
    /// The number of images that must pass when the job starts. By default any number may.
    #[serde(
        default,
        deserialize_with = "non_null",
        skip_serializing_if = "Option::is_none"
    )]
    pub expect: Option<u64>,
}

/// Which images to change, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangeImages {
    /// The images that pass it.
    pub filter: Filter,
    /// The number of images that must pass when the job starts. By default any number may.
    #[serde(
        default,
        deserialize_with = "non_null",
        skip_serializing_if = "Option::is_none"
    )]
    pub expect: Option<u64>,
    /// The new labels. By default the images keep theirs.
    #[serde(
        default,
        deserialize_with = "non_null",
        skip_serializing_if = "Option::is_none"
    )]
    pub labels: Option<Vec<String>>,
    /// The labels to add.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add_labels: Vec<String>,
    /// The labels to remove.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove_labels: Vec<String>,
    /// The changes of the payload, a JSON merge patch (RFC 7396); null removes the payload.
    #[serde(
        default,
        deserialize_with = "value_or_null",
        skip_serializing_if = "Option::is_none"
    )]
    pub payload: Option<Value>,
}

/// Deserializes a member that is present: null is a value.
fn value_or_null<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(value).map(Some)
}

impl ChangeImages {
    /// Checks that there is something to change, and only one way to change the labels.
    ///
    /// # Errors
    /// [`OptionError`], for the first invalid option.
    pub fn check(&self) -> Result<(), OptionError> {
        let some_labels = self.add_labels.len() + self.remove_labels.len();
        check_option(
            "labels, add_labels, remove_labels and payload",
            "all left out",
            self.labels.is_some() || some_labels > 0 || self.payload.is_some(),
            "given, at least one of them",
        )?;
        check_option(
            "add_labels and remove_labels",
            some_labels,
            self.labels.is_none() || some_labels == 0,
            "left out if `labels` replaces all labels",
        )
    }
}

/// Returns `share` of `images`, rounded to a whole number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is whole and not negative, and at most 100 times as many images"
)]
pub(crate) fn share_of(images: usize, share: f64) -> usize {
    (images as f64 * share).round() as usize
}
