//! What a fine-tuning job may be asked for, with its defaults and ranges.
//! Plain data; knows neither galleries nor networks.

use serde::{Deserialize, Deserializer, Serialize};

use crate::{code::Length, index::ImageId, train::unlabelled::FEWEST};

/// When the model that a job made takes the active one's place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activate {
    /// When it is told to.
    #[default]
    Manual,
    /// As soon as it is made.
    Always,
    /// As soon as it is made, if its MAP is higher than that of the model that it was made of.
    IfBetter,
}

/// An archive that came with a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Archive {
    /// The SHA-256 of its file, in hexadecimal digits.
    pub sha256: String,
    /// The size of its file.
    pub bytes: u64,
}

/// What a model is to be trained on, and how. A member that this program does not know is passed over: records of jobs may be of a newer one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FineTune {
    /// The model to go on from; the active one where none is named.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The labels that are classes; all that images have where none is named, or all folders of an archive.
    pub labels: Vec<String>,
    /// The images to learn from; all that have such a label where none is named.
    pub images: Vec<ImageId>,
    /// The archive of class folders to learn from instead of the gallery, where one came with the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive: Option<Archive>,
    /// How many images of classes that the model knows, and that are not among `labels`, are learned from besides: so many times those
    /// of `labels`. They keep it from forgetting.
    pub replay: f64,
    /// At most so many images of a class.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub per_class: Option<usize>,
    /// The share of each class's images that is kept from training, to compare the models by.
    pub validation_fraction: f64,
    /// Epochs in which the heads alone learn, on frozen features.
    pub warm_up_epochs: usize,
    /// Epochs in which both networks learn.
    pub epochs: usize,
    /// Whether the backbone learns too; otherwise `epochs` is of no account.
    pub train_backbone: bool,
    /// Images a step.
    pub batch_size: usize,
    /// The highest rate of the heads.
    pub learning_rate: f64,
    /// The highest rate of the backbone; 0.6 of the heads' where none is given.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub backbone_rate: Option<f64>,
    /// The weight of L_g, the REINFORCE term.
    pub reinforce_weight: f64,
    /// The weight of R_g, the differentiable term.
    pub global_weight: f64,
    /// How much pictures are changed at random, 0 to 1.
    pub augment: f64,
    /// The lengths of codes; those of the model, which are the only ones that can be had.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub lengths: Option<Vec<Length>>,
    /// The seed of everything random.
    pub seed: u64,
    /// When the new model takes the active one's place.
    pub activate: Activate,
}

/// An option's name, what it is, whether that is right, and what would be.
type Check = (&'static str, String, bool, &'static str);

/// Refuses the first option that is not right.
fn held(checks: impl IntoIterator<Item = Check>) -> Result<(), OptionError> {
    let mut checks = checks.into_iter();
    match checks.find(|(_, _, right, _)| !right) {
        None => Ok(()),
        Some((option, found, _, expected)) => Err(OptionError {
            option,
            found,
            expected,
        }),
    }
}

/// What is named has to be right: null is no way of leaving it out.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(value: D) -> Result<Option<T>, D::Error> {
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
    /// Refuses what is out of its range.
    ///
    /// # Errors
    /// [`OptionError`], for the first.
    pub fn check(&self) -> Result<(), OptionError> {
        let rate = self.backbone_rate.unwrap_or(self.learning_rate);
        let within = |least: f64, value: f64, most: f64| (least..=most).contains(&value);
        let per_class = self.per_class.unwrap_or(2);
        held([
            (
                "images",
                self.images.len().to_string(),
                self.images.is_empty() || self.archive.is_none(),
                "left out where an archive is learned from",
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
                "at least 1 together, `epochs` counting where the backbone learns",
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
                // As far as JSON's numbers are whole everywhere.
                self.seed < 1 << 53,
                "0 to 9007199254740991",
            ),
        ])
    }
}

/// How a model is to learn what the gallery shows, without labels. Members that are not known are passed over, as those of [`FineTune`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Adapt {
    /// The model whose backbone is kept; the active one if none is named.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// At most so many images are learned from, drawn at random.
    pub images: usize,
    /// The share of them that is kept from training, to compare the models by.
    pub validation_fraction: f64,
    /// Epochs in which the heads learn.
    pub epochs: usize,
    /// The seed of everything random.
    pub seed: u64,
    /// When the new model takes the active one's place.
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
    /// Refuses what is out of its range.
    ///
    /// # Errors
    /// [`OptionError`], for the first.
    pub fn check(&self) -> Result<(), OptionError> {
        let kept = self.validation_fraction;
        held([
            (
                "images",
                self.images.to_string(),
                (FEWEST..=50_000).contains(&self.images),
                "256 to 50000",
            ),
            (
                "validation_fraction",
                kept.to_string(),
                (0.01..=0.5).contains(&kept),
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

/// An option out of its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{option} is {found}; it must be {expected}")]
pub struct OptionError {
    /// Its name.
    pub option: &'static str,
    /// Its value.
    pub found: String,
    /// What would be right.
    pub expected: &'static str,
}
