//! What a training takes over from trained models: weights to start from, and answers to learn instead of labels.
//! Knows checkpoints and whether they fit; not what is learned from them.

use std::path::Path;

use tch::{Device, Kind, Tensor};

use super::{FEATURE_BATCH, TrainError, data::pictures::Pictures};
use crate::model::{Card, ModelError, Network, Pass, checkpoint};

/// The model at `path` to go on from; its hash centres become the card's.
///
/// # Errors
/// [`TrainError::Option`] where it is another backbone's, or of other policies, lengths or classes, and [`TrainError::Model`].
pub(super) fn start(path: &Path, card: &mut Card, device: Device) -> Result<Network, TrainError> {
    let (network, given, _) = checkpoint::load(path, device)?;
    let same = given.backbone == card.backbone && given.policy == card.policy;
    fits(&given, card, same, "the model to start from")?;
    card.centers = given.centers;
    Ok(network)
}

/// What the model at `path` answers to all pictures, `[heads, pictures, bits]`: the mean of its action values, −1…1, for each picture
/// as it is and mirrored. Its hash centres become the card's.
///
/// # Errors
/// [`TrainError::Option`] where it has other lengths or classes, and [`TrainError::Model`].
pub(super) fn answers(
    path: &Path,
    pictures: &Pictures,
    card: &mut Card,
    device: Device,
    kind: Kind,
) -> Result<Tensor, TrainError> {
    let (network, given, _) = checkpoint::load(path, device)?;
    fits(&given, card, true, "the teacher")?;
    let pass = Pass { train: false, kind };
    let numbers: Vec<usize> = (0..pictures.labels.len()).collect();
    let parts = numbers.chunks(FEATURE_BATCH).map(|numbers| {
        let images = pictures.batch(numbers, given.input_size, None, 0, device)?;
        let values = |images: &Tensor| -> Result<Tensor, ModelError> {
            let logits = network.policy.logits(&network.features(images, pass)?)?;
            Ok(logits.f_tanh()?) // [heads, batch, bits]
        };
        tch::no_grad(|| {
            let sum = values(&images)?.f_add(&values(&images.f_flip([3])?)?)?;
            Ok(sum.f_div_scalar(2.0)?)
        })
    });
    let parts = parts.collect::<Result<Vec<_>, ModelError>>()?;
    card.centers = given.centers;
    Ok(Tensor::f_cat(&parts, 1).map_err(ModelError::from)?)
}

fn fits(given: &Card, card: &Card, same: bool, option: &'static str) -> Result<(), TrainError> {
    if same && given.lengths == card.lengths && given.classes == card.classes {
        return Ok(());
    }
    let lengths: Vec<_> = given.lengths.iter().map(ToString::to_string).collect();
    Err(TrainError::Option {
        option,
        found: format!(
            "{} with policies of {:?} for {} bits and the classes {}",
            given.backbone,
            given.policy,
            lengths.join(", "),
            given.classes.join(", ")
        ),
        expected: "of the backbone, policies, lengths and classes that are trained",
    })
}
