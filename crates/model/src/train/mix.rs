//! Mixed pictures (CutMix, Yun et al., 2019): a rectangle of each picture is another's, and its target is as much that one's. Mixed
//! features (Zhang et al., 2018): each stands between two. Between classes bits then learn to doubt.
//! Knows batches; the targets are mixed by whoever asked.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use tch::Tensor;

use crate::model::ModelError;

/// In a share `often` of calls, pictures `[batch, 3, side, side]` of which a rectangle is from the batch in reverse order, and the
/// share of the area that it covers; otherwise the pictures as they are.
///
/// # Errors
/// [`ModelError::Tensor`].
pub(super) fn mixed(
    pictures: &Tensor,
    often: f64,
    rng: &mut ChaCha8Rng,
) -> Result<(Tensor, Option<f64>), ModelError> {
    if rng.random::<f64>() >= often {
        return Ok((pictures.shallow_clone(), None));
    }
    let (_, _, _, side) = pictures.size4()?;
    let half = rng.random::<f64>().sqrt() * side as f64 / 2.0;
    let mut range = || {
        let centre = rng.random::<f64>() * side as f64;
        let low = (centre - half).round().max(0.0) as i64;
        (low, ((centre + half).round() as i64).clamp(low, side) - low)
    };
    let ((top, height), (left, width)) = (range(), range());
    let part = |pictures: &Tensor| pictures.f_narrow(2, top, height)?.f_narrow(3, left, width);
    let mixed = pictures.f_contiguous()?.f_alias_copy()?;
    part(&mixed)?.f_copy_(&part(&pictures.f_flip([0])?)?)?;
    Ok((mixed, Some((height * width) as f64 / (side * side) as f64)))
}

/// In a share `often` of calls, features `[batch, feature]` each on the way to that of the batch in reverse order, and how far on
/// it, 0…1; otherwise the features as they are.
///
/// # Errors
/// [`ModelError::Tensor`].
pub(super) fn blended(
    features: &Tensor,
    often: f64,
    rng: &mut ChaCha8Rng,
) -> Result<(Tensor, Option<f64>), ModelError> {
    if rng.random::<f64>() >= often {
        return Ok((features.shallow_clone(), None));
    }
    let share = rng.random();
    let mixed = features.f_lerp(&features.f_flip([0])?, share)?;
    Ok((mixed, Some(share)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn the_share_is_what_was_replaced() {
        let pictures = Tensor::cat(
            &[
                Tensor::zeros([1, 3, 16, 16], (tch::Kind::Float, tch::Device::Cpu)),
                Tensor::ones([1, 3, 16, 16], (tch::Kind::Float, tch::Device::Cpu)),
            ],
            0,
        );
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut shares = Vec::new();
        for _ in 0..50 {
            let (mixed, share) = mixed(&pictures, 1.0, &mut rng).unwrap();
            let share = share.unwrap();
            let of = |i| f64::try_from(mixed.get(i).mean(tch::Kind::Float)).unwrap();
            assert!((of(0) - share).abs() < 1e-6 && (of(1) - (1.0 - share)).abs() < 1e-6);
            shares.push(share);
        }
        assert!(shares.iter().any(|&share| share > 0.5) && shares.iter().any(|&share| share < 0.1));
        assert_eq!(super::mixed(&pictures, 0.0, &mut rng).unwrap().1, None);
        assert_eq!(f64::try_from(pictures.mean(tch::Kind::Float)).unwrap(), 0.5);
    }
}
