//! The card of a model: its architecture, classes, hash centres and measured quality, as JSON in
//! the model's file.

use std::collections::BTreeMap;

use scihcgrl_image::{Input, Resize};
use scihcgrl_index::code::{HashCode, Length};
use serde::{Deserialize, Serialize};

use crate::options::{self, BackboneKind};

/// The description of a model in its file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Card {
    /// The backbone.
    pub backbone: BackboneKind,
    /// The structure of the policies.
    #[serde(flatten)]
    pub policy: options::Policy,
    /// Code lengths, ascending: one policy head each.
    pub lengths: Vec<Length>,
    /// Bytes of the sketch that the model makes next to the codes. `None` if it makes none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sketch: Option<usize>,
    /// The thresholds of similarity for copies and kin. `None` if they were not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<Thresholds>,
    /// Side of the square input, in pixels.
    pub input_size: u32,
    /// The way of making a picture square.
    #[serde(default)]
    pub resize: Resize,
    /// Subtracted from each channel (R, G, B) of pixels scaled to 0…1.
    pub mean: [f32; 3],
    /// Divisor of each channel after that.
    pub deviation: [f32; 3],
    /// Class names, in the order of the centres.
    pub classes: Vec<String>,
    /// Each length's hash centres, one per class.
    pub centers: BTreeMap<Length, Vec<HashCode>>,
    /// How the model was trained: data, options, epochs, seconds.
    pub training: serde_json::Value,
    /// Quality measured on held-out images, or null.
    pub quality: serde_json::Value,
}

/// The similarities of sketches, −1 to 1, at and above which two images are related.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    /// The threshold for copies. At most one in a million pairs of different photographs reaches
    /// it.
    pub copy: f32,
    /// The threshold for kin. Nine in ten pairs of labelled photographs that reach it show things
    /// of one kind. `None` if fewer than a tenth of the pairs of one kind would reach it.
    pub kin: Option<f32>,
}

/// The relation of two images, by the similarity of their sketches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Relation {
    /// One is a copy of the other.
    Copy,
    /// They show things of one kind.
    Kin,
}

impl Thresholds {
    /// Returns the relation of two images of this similarity, −1 to 1. Returns `None` if they are
    /// unrelated.
    pub fn relation(&self, similarity: f32) -> Option<Relation> {
        if similarity >= self.copy {
            return Some(Relation::Copy);
        }
        let kin = self.kin.filter(|&kin| similarity >= kin);
        kin.map(|_| Relation::Kin)
    }
}

impl Card {
    /// Returns the similarity of sketches, −1 to 1, at and above which images are copies. Returns
    /// `None` if the model makes no sketches or the threshold was not measured.
    pub fn copy(&self) -> Option<f32> {
        let thresholds = self.thresholds.filter(|_| self.sketch.is_some());
        thresholds.map(|thresholds| thresholds.copy)
    }

    /// Returns the form of the network's input.
    pub fn input(&self) -> Input {
        Input {
            side: self.input_size,
            resize: self.resize,
        }
    }
}
