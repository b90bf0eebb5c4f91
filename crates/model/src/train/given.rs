//! What a training takes over from trained models: weights to start from, and answers to learn instead of labels.
//! Knows checkpoints and whether they fit; not what is learned from them.

use std::path::Path;

use tch::{Device, Kind, Tensor};

use super::{
    FEATURE_BATCH, TrainError,
    data::{
        ahead::{self, Batch, Plan},
        pictures::Pictures,
    },
};
use crate::model::{Card, ModelError, Network, Pass, centers, checkpoint};

const BODY: &str = "of the backbone, policies and lengths that are trained";
const CLASSES: &str = "of the lengths and classes that are trained";

/// The model at `path` to go on from, and its id. Its classes keep their hash centres, those that have no images here after the others,
/// as many as there is room for; classes that it does not know get new ones.
///
/// # Errors
/// [`TrainError::Option`] where it is another backbone's, or of other policies or lengths, and [`TrainError::Model`], also where there are
/// more classes than hash centres.
pub(super) fn start(
    path: &Path,
    card: &mut Card,
    seed: u64,
    device: Device,
) -> Result<(Network, String), TrainError> {
    let (network, given, id) = checkpoint::load(path, device)?;
    if given.backbone != card.backbone
        || given.policy != card.policy
        || given.lengths != card.lengths
    {
        return Err(unfit(&given, "the model to start from", BODY));
    }
    let known = |class: &String| given.classes.iter().position(|known| known == class);
    let new = card.classes.iter().filter(|class| known(class).is_none());
    let new = new.count();
    let mut absent: Vec<usize> = (0..given.classes.len())
        .filter(|&at| !card.classes.contains(&given.classes[at]))
        .collect();
    // Of a class without images nothing is learned: where there are more classes than centres, the last of these make room.
    absent.truncate(centers::MOST.saturating_sub(card.classes.len()));
    for (&length, centers) in &mut card.centers {
        let old = given.centers.get(&length).map_or(&[][..], Vec::as_slice);
        let is_kept =
            |at: &usize| absent.contains(at) || card.classes.contains(&given.classes[*at]);
        let kept = (0..old.len()).filter(is_kept).map(|at| old[at]);
        let kept: Vec<_> = kept.collect();
        let mut more = centers::more(&kept, length, new, seed)?.into_iter();
        let of = |class: &String| match known(class) {
            Some(at) => old.get(at).copied(),
            None => more.next(),
        };
        let mut all: Vec<_> = card.classes.iter().filter_map(of).collect();
        all.extend(absent.iter().filter_map(|&at| old.get(at)));
        *centers = all;
    }
    // Its sketches stay comparable as long as the backbone does.
    card.sketch = given.sketch;
    card.classes
        .extend(absent.iter().map(|&at| given.classes[at].clone()));
    Ok((network, id))
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
    if given.lengths != card.lengths || given.classes != card.classes {
        return Err(unfit(&given, "the teacher", CLASSES));
    }
    let pass = Pass { train: false, kind };
    let numbers: Vec<usize> = (0..pictures.labels.len()).collect();
    let plan = Plan::unchanged(pictures, &numbers, FEATURE_BATCH, given.input_size);
    let parts = ahead::each(plan, device, |Batch { images, .. }| {
        let values = |images: &Tensor| -> Result<Tensor, ModelError> {
            let logits = network.policy.logits(&network.features(images, pass)?)?;
            Ok(logits.f_tanh()?) // [heads, batch, bits]
        };
        tch::no_grad(|| {
            let sum = values(&images)?.f_add(&values(&images.f_flip([3])?)?)?;
            Ok(sum.f_div_scalar(2.0)?)
        })
    })?;
    card.centers = given.centers;
    Ok(Tensor::f_cat(&parts, 1).map_err(ModelError::from)?)
}

/// What a given model is, where it should be otherwise.
fn unfit(given: &Card, option: &'static str, expected: &'static str) -> TrainError {
    let lengths: Vec<_> = given.lengths.iter().map(ToString::to_string).collect();
    TrainError::Option {
        option,
        found: format!(
            "{} with policies of {:?} for {} bits and the classes {}",
            given.backbone,
            given.policy,
            lengths.join(", "),
            given.classes.join(", ")
        ),
        expected,
    }
}
