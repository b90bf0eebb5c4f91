//! Inherits from trained models: the weights of a parent to start from, or a teacher's answers to
//! learn instead of labels.

use std::path::Path;

use tch::{Device, Kind, Tensor};

use crate::{
    card::Card,
    centers, checkpoint,
    error::ModelError,
    network::{Network, backbone::Pass},
    options::OptionError,
    train::{
        data::{
            pictures::Pictures,
            prefetch::{self, BatchPlan, FEATURE_BATCH, ImageBatch},
        },
        error::TrainError,
    },
};

const PARENT_MUST_BE: &str =
    "of the same backbone, policies and lengths as the model that is trained";
const TEACHER_MUST_BE: &str = "of the same lengths and classes as the model that is trained";

/// Loads the model to start from, and returns it with its id. Its classes keep their hash centres,
/// and new classes get new ones. Its classes without images in the new data set follow the others,
/// as many as there are centres for.
///
/// # Errors
/// [`TrainError::Option`] if it has another backbone, other policies or other lengths;
/// [`TrainError::Model`], also if there are more classes than hash centres.
pub(crate) fn load_parent(
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
        return Err(mismatch(&given, "the model to start from", PARENT_MUST_BE));
    }
    let known = |class: &String| given.classes.iter().position(|known| known == class);
    let new = card.classes.iter().filter(|class| known(class).is_none());
    let new = new.count();
    let mut absent: Vec<usize> = (0..given.classes.len())
        .filter(|&at| !card.classes.contains(&given.classes[at]))
        .collect();
    // A class without images learns nothing, so the last of these are dropped if there are more
    // classes than centres.
    absent.truncate(centers::MAX_CLASSES.saturating_sub(card.classes.len()));
    for (&length, centers) in &mut card.centers {
        let old = given.centers.get(&length).map_or(&[][..], Vec::as_slice);
        let is_kept =
            |at: &usize| absent.contains(at) || card.classes.contains(&given.classes[*at]);
        let kept = (0..old.len()).filter(is_kept).map(|at| old[at]);
        let kept: Vec<_> = kept.collect();
        let mut more = centers::make_more(&kept, length, new, seed)?.into_iter();
        let center = |class: &String| match known(class) {
            Some(at) => old.get(at).copied(),
            None => more.next(),
        };
        let mut all: Vec<_> = card.classes.iter().filter_map(center).collect();
        all.extend(absent.iter().filter_map(|&at| old.get(at)));
        *centers = all;
    }
    // Sketches stay comparable if the backbone does not change.
    card.sketch = given.sketch;
    card.classes
        .extend(absent.iter().map(|&at| given.classes[at].clone()));
    Ok((network, id))
}

/// Returns a teacher's answers to all pictures, `[heads, pictures, bits]`: its action values, −1…1,
/// averaged over each picture and its mirror image. The card takes over the teacher's hash centres.
///
/// # Errors
/// [`TrainError::Option`] if it has other lengths or classes; [`TrainError::Model`].
pub(crate) fn teacher_answers(
    path: &Path,
    pictures: &Pictures,
    card: &mut Card,
    device: Device,
    kind: Kind,
) -> Result<Tensor, TrainError> {
    let (network, given, _) = checkpoint::load(path, device)?;
    if given.lengths != card.lengths || given.classes != card.classes {
        return Err(mismatch(&given, "the teacher", TEACHER_MUST_BE));
    }
    let pass = Pass { train: false, kind };
    let numbers: Vec<usize> = (0..pictures.labels.len()).collect();
    let plan = BatchPlan::unchanged(pictures, &numbers, FEATURE_BATCH, given.input_size);
    let parts = prefetch::map_batches(plan, device, |ImageBatch { images, .. }| {
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

/// Makes the error for an unsuitable model.
fn mismatch(given: &Card, option: &'static str, expected: &'static str) -> TrainError {
    let lengths: Vec<_> = given.lengths.iter().map(ToString::to_string).collect();
    let found = format!(
        "{} with policies of {:?} for {} bits and the classes {}",
        given.backbone,
        given.policy,
        lengths.join(", "),
        given.classes.join(", ")
    );
    OptionError {
        option,
        found,
        expected: expected.to_owned(),
    }
    .into()
}
