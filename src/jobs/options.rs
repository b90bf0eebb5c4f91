//! The options of jobs that learn, with their defaults and ranges.

use serde::{Deserialize, Deserializer, Serialize};

use crate::{code::Length, index::ImageId, train::unlabelled::MIN_IMAGES};

/// When a job's new model becomes the active one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activate {
    /// Not before a request activates it.
    #[default]
    Manual,
    /// As soon as it is trained.
    Always,
    /// As soon as it is trained, if it is measured to be better than its parent.
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
    /// The parent model; the active one if none is given.
    #[serde(deserialize_with = "non_null", skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The labels that are classes; if none is given, all labels of images, or all folders of the
    /// archive.
    pub labels: Vec<String>,
    /// The images to learn from; if none is given, all that have such a label.
    pub images: Vec<ImageId>,
    /// The uploaded archive of class folders to learn from instead of the gallery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive: Option<Archive>,
    /// How many images of other classes that the parent knows are learned from as well, as a
    /// multiple of the number of images of `labels`. They keep the model from forgetting these
    /// classes.
    pub replay: f64,
    /// The largest number of images of a class.
    #[serde(deserialize_with = "non_null", skip_serializing_if = "Option::is_none")]
    pub per_class: Option<usize>,
    /// The share of each class's images that is held out from training, to compare the models.
    pub validation_fraction: f64,
    /// Epochs in which the heads alone learn, on frozen features.
    pub warm_up_epochs: usize,
    /// Epochs in which both networks learn.
    pub epochs: usize,
    /// If the backbone learns too; otherwise `epochs` has no effect.
    pub train_backbone: bool,
    /// The number of images in a training step.
    pub batch_size: usize,
    /// The highest learning rate of the heads.
    pub learning_rate: f64,
    /// The highest learning rate of the backbone; 0.6 of the heads' if none is given.
    #[serde(deserialize_with = "non_null", skip_serializing_if = "Option::is_none")]
    pub backbone_rate: Option<f64>,
    /// The weight of L_g, the REINFORCE term.
    pub reinforce_weight: f64,
    /// The weight of R_g, the differentiable term.
    pub global_weight: f64,
    /// How much images are changed at random, 0 to 1.
    pub augment: f64,
    /// The lengths of the codes; if given, they must be those of the parent.
    #[serde(deserialize_with = "non_null", skip_serializing_if = "Option::is_none")]
    pub lengths: Option<Vec<Length>>,
    /// The seed of all random numbers.
    pub seed: u64,
    pub activate: Activate,
}

/// An option's name, its value, true if the value is valid, and the valid values.
type Check = (&'static str, String, bool, &'static str);

/// Refuses the first invalid option.
fn check_all(checks: impl IntoIterator<Item = Check>) -> Result<(), OptionError> {
    let mut checks = checks.into_iter();
    match checks.find(|(_, _, is_valid, _)| !is_valid) {
        None => Ok(()),
        Some((option, found, _, expected)) => Err(OptionError {
            option,
            found,
            expected,
        }),
    }
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
        let rate = self.backbone_rate.unwrap_or(self.learning_rate);
        let within = |least: f64, value: f64, most: f64| (least..=most).contains(&value);
        let per_class = self.per_class.unwrap_or(2);
        check_all([
            (
                "images",
                self.images.len().to_string(),
                self.images.is_empty() || self.archive.is_none(),
                "left out if there is an archive to learn from",
            ),
            (
                "replay",
                self.replay.to_string(),
                within(0.0, self.replay, 100.0),
                "0 to 100",
            ),
            (
                "validation_fraction",
                self.validation_fraction.to_string(),
                within(0.01, self.validation_fraction, 0.5),
                "0.01 to 0.5",
            ),
            (
                "warm_up_epochs",
                self.warm_up_epochs.to_string(),
                self.warm_up_epochs <= 500,
                "0 to 500",
            ),
            (
                "epochs",
                self.epochs.to_string(),
                self.epochs <= 500,
                "0 to 500",
            ),
            (
                "warm_up_epochs and epochs",
                "0".to_owned(),
                self.warm_up_epochs > 0 || self.train_backbone && self.epochs > 0,
                "at least 1 together; `epochs` counts only if the backbone learns",
            ),
            (
                "batch_size",
                self.batch_size.to_string(),
                (2..=1024).contains(&self.batch_size),
                "2 to 1024",
            ),
            (
                "learning_rate",
                self.learning_rate.to_string(),
                within(1e-9, self.learning_rate, 10.0),
                "above 0 and at most 10",
            ),
            (
                "backbone_rate",
                rate.to_string(),
                within(0.0, rate, 10.0),
                "0 to 10",
            ),
            (
                "reinforce_weight",
                self.reinforce_weight.to_string(),
                within(0.0, self.reinforce_weight, 100.0),
                "0 to 100",
            ),
            (
                "global_weight",
                self.global_weight.to_string(),
                within(0.0, self.global_weight, 100.0),
                "0 to 100",
            ),
            (
                "augment",
                self.augment.to_string(),
                within(0.0, self.augment, 1.0),
                "0 to 1",
            ),
            (
                "per_class",
                per_class.to_string(),
                (2..=1_000_000).contains(&per_class),
                "2 to 1000000",
            ),
            (
                "seed",
                self.seed.to_string(),
                // JSON parsers represent whole numbers exactly up to here.
                self.seed < 1 << 53,
                "0 to 9007199254740991",
            ),
        ])
    }
}

/// How to adapt a model to the gallery, without labels. Unknown members are ignored, as in
/// [`FineTune`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Adapt {
    /// The parent model, whose backbone is kept; the active one if none is given.
    #[serde(deserialize_with = "non_null", skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The largest number of images, drawn at random.
    pub images: usize,
    /// The share of them that is held out from training, to compare the models.
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
            validation_fraction: 0.1,
            epochs: 20,
            seed: 0,
            activate: Activate::Manual,
        }
    }
}

impl Adapt {
    /// The number of images that are check_all out, of so many.
    pub(crate) fn held_out(&self, images: usize) -> usize {
        share_of(images, self.validation_fraction).max(1)
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`OptionError`], for the first invalid option.
    pub fn check(&self) -> Result<(), OptionError> {
        let share = self.validation_fraction;
        check_all([
            (
                "images",
                self.images.to_string(),
                (MIN_IMAGES..=50_000).contains(&self.images),
                "256 to 50000",
            ),
            (
                "validation_fraction",
                share.to_string(),
                (0.01..=0.5).contains(&share),
                "0.01 to 0.5",
            ),
            (
                "epochs",
                self.epochs.to_string(),
                (1..=500).contains(&self.epochs),
                "1 to 500",
            ),
            (
                "seed",
                self.seed.to_string(),
                self.seed < 1 << 53,
                "0 to 9007199254740991",
            ),
        ])
    }
}

/// Returns the number of images in a share of so many, rounded.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is whole and not negative, and at most 100 times as many images"
)]
pub(crate) fn share_of(images: usize, share: f64) -> usize {
    (images as f64 * share).round() as usize
}

/// An option with an invalid value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{option} is {found}; it must be {expected}")]
pub struct OptionError {
    pub option: &'static str,
    pub found: String,
    /// The valid values.
    pub expected: &'static str,
}
