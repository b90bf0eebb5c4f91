//! Mixed pictures (CutMix, Yun et al., 2019): a rectangle of each picture, and the same share of
//! its target, come from another picture. Mixed features (Zhang et al., 2018): each is interpolated
//! between two. Bits then become less certain between classes. The caller mixes the targets.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use tch::Tensor;

use crate::error::ModelError;

/// Mixes pictures `[batch, 3, side, side]` with the given probability. A rectangle of each picture
/// comes from the batch in reverse order. Returns the pictures, and the share of the area that the
/// rectangle covers. Returns them unchanged with `None` otherwise.
///
/// # Errors
/// [`ModelError::Tensor`].
pub(crate) fn cut_mix(
    pictures: &Tensor,
    probability: f64,
    rng: &mut ChaCha8Rng,
) -> Result<(Tensor, Option<f64>), ModelError> {
    if rng.random::<f64>() >= probability {
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

/// Mixes features `[batch, feature]` with the given probability. Each is interpolated towards that
/// of the batch in reverse order. Returns the features, and the share of the other feature, 0…1.
/// Returns them unchanged with `None` otherwise.
///
/// # Errors
/// [`ModelError::Tensor`].
pub(crate) fn mix_features(
    features: &Tensor,
    probability: f64,
    rng: &mut ChaCha8Rng,
) -> Result<(Tensor, Option<f64>), ModelError> {
    if rng.random::<f64>() >= probability {
        return Ok((features.shallow_clone(), None));
    }
    let share = rng.random();
    let mixed = features.f_lerp(&features.f_flip([0])?, share)?;
    Ok((mixed, Some(share)))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn cut_mix_returns_the_share_that_was_replaced() {
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
            let (mixed, share) = cut_mix(&pictures, 1.0, &mut rng).unwrap();
            let share = share.unwrap();
            let mean_of = |i| f64::try_from(mixed.get(i).mean(tch::Kind::Float)).unwrap();
            assert!((mean_of(0) - share).abs() < 1e-6 && (mean_of(1) - (1.0 - share)).abs() < 1e-6);
            shares.push(share);
        }
        assert!(shares.iter().any(|&share| share > 0.5) && shares.iter().any(|&share| share < 0.1));
        assert_eq!(super::cut_mix(&pictures, 0.0, &mut rng).unwrap().1, None);
        assert_eq!(f64::try_from(pictures.mean(tch::Kind::Float)).unwrap(), 0.5);
    }
}
