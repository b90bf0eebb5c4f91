//! Makes sketches: a linear map of the backbone's feature, and the tones. Tones are the coarse
//! light and dark of the picture, which survive blurring. `train::unlabelled` learns the map.

use std::f64::consts::PI;

use scihcgrl_index::Sketch;
use tch::{Device, Kind, Tensor, nn};

use crate::error::ModelError;

/// Number of entries of a sketch that are tones: the lowest frequencies of the discrete cosine
/// transform of luminance, without the mean. Only even horizontal frequencies are used, so a
/// picture and its mirror image have the same tones.
pub const TONES: usize = VERTICAL_FREQUENCIES * HORIZONTAL_FREQUENCIES - 1;
const VERTICAL_FREQUENCIES: usize = 8;
const HORIZONTAL_FREQUENCIES: usize = 4;
/// Side of the luminance grid for the transform, in pixels.
const GRID_SIDE: i64 = 32;
/// The tones' share of a sketch's squared length.
const TONE_SHARE: f64 = 0.08;

/// The learned map and the fixed transform.
pub struct Sketcher {
    mean: Tensor,       // [feature]
    projection: Tensor, // [feature, bytes − TONES]
    deviation: Tensor,  // [TONES]
    transform: Tensor,  // [GRID_SIDE², TONES]
}

impl Sketcher {
    /// Builds a sketcher of more than [`TONES`] bytes with variables under `path`. Its map is zero
    /// until it is [set](Self::set) or loaded from a checkpoint.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn new(path: &nn::Path, feature: i64, bytes: usize) -> Result<Self, ModelError> {
        let projected = bytes as i64 - TONES as i64;
        Ok(Sketcher {
            mean: path.f_zeros_no_train("mean", &[feature])?,
            projection: path.f_zeros_no_train("projection", &[feature, projected])?,
            deviation: path.f_ones_no_train("deviation", &[TONES as i64])?,
            transform: transform()?.f_to_device(path.device())?,
        })
    }

    /// Sets the mean that is subtracted from a feature, `[feature]`; the matrix that multiplies the
    /// difference, `[feature, bytes − TONES]`; and the divisors of tones, `[TONES]`.
    ///
    /// # Errors
    /// [`ModelError::Tensor`], also for wrong shapes.
    pub fn set(
        &self,
        mean: &Tensor,
        projection: &Tensor,
        deviation: &Tensor,
    ) -> Result<(), ModelError> {
        tch::no_grad(|| {
            self.mean.shallow_clone().f_copy_(mean)?;
            self.projection.shallow_clone().f_copy_(projection)?;
            self.deviation.shallow_clone().f_copy_(deviation)?;
            Ok(())
        })
    }

    /// Computes the tones of pictures in 0…255: `[batch, 3, side, side]` of any type to `[batch,
    /// TONES]`.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn tones(&self, images: &Tensor) -> Result<Tensor, ModelError> {
        let images = images.f_to_kind(Kind::Float)?;
        let coarse = images.f_adaptive_avg_pool2d([GRID_SIDE, GRID_SIDE])?; // [batch, 3, GRID, GRID]
        let weights = Tensor::f_from_slice(&[0.299f32, 0.587, 0.114])?;
        let weights = weights.f_to_device(images.device())?.f_view([1, 3, 1, 1])?;
        let luminance =
            coarse
                .f_mul(&weights)?
                .f_sum_dim_intlist([1i64].as_slice(), false, Kind::Float)?;
        Ok(luminance.f_flatten(1, 2)?.f_matmul(&self.transform)?)
    }

    /// Computes sketches as unit vectors: features `[batch, feature]` and tones `[batch, TONES]` to
    /// `[batch, bytes]`.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn vectors(&self, features: &Tensor, tones: &Tensor) -> Result<Tensor, ModelError> {
        let part = |part: Tensor, share: f64| -> Result<Tensor, ModelError> {
            let length = part.f_norm_scalaropt_dim(2.0, [1i64].as_slice(), true)?;
            let unit = part.f_div(&length.f_clamp_min(1e-12)?)?;
            Ok(unit.f_mul_scalar(share.sqrt())?)
        };
        let features = features.f_sub(&self.mean)?.f_matmul(&self.projection)?;
        let tones = tones.f_div(&self.deviation)?;
        let parts = [part(features, 1.0 - TONE_SHARE)?, part(tones, TONE_SHARE)?];
        Ok(Tensor::f_cat(&parts, 1)?)
    }

    /// Computes one sketch per image from features `[batch, feature]` and tones `[batch, TONES]`.
    ///
    /// # Errors
    /// [`ModelError::Tensor`], [`ModelError::Sketch`].
    pub fn sketches(&self, features: &Tensor, tones: &Tensor) -> Result<Vec<Sketch>, ModelError> {
        let vectors = self.vectors(features, tones)?;
        let vectors = vectors.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?;
        let (images, bytes) = vectors.size2()?;
        let mut values = vec![0f32; (images * bytes) as usize];
        let count = values.len();
        vectors.f_contiguous()?.f_copy_data(&mut values, count)?;
        let sketches = values.chunks(bytes as usize).map(Sketch::of);
        Ok(sketches.collect::<Result<_, _>>()?)
    }
}

/// Returns the basis of the transform: `[GRID_SIDE², TONES]`.
fn transform() -> Result<Tensor, ModelError> {
    let wave = |place: i64, frequency: usize| {
        (PI * (place as f64 + 0.5) * frequency as f64 / GRID_SIDE as f64).cos()
    };
    let mut values = Vec::new();
    for at in 0..GRID_SIDE * GRID_SIDE {
        for tone in 1..=TONES {
            let (down, across) = (
                tone / HORIZONTAL_FREQUENCIES,
                tone % HORIZONTAL_FREQUENCIES * 2,
            );
            values.push((wave(at / GRID_SIDE, down) * wave(at % GRID_SIDE, across)) as f32);
        }
    }
    Ok(Tensor::f_from_slice(&values)?.f_view([GRID_SIDE * GRID_SIDE, TONES as i64])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sketcher() -> (nn::VarStore, Sketcher) {
        let variables = nn::VarStore::new(Device::Cpu);
        let sketcher = Sketcher::new(&variables.root(), 4, TONES + 3).unwrap();
        (variables, sketcher)
    }

    #[test]
    fn tones_measure_waves_of_luminance() {
        let (_variables, sketcher) = sketcher();
        let (side, frequency) = (64, 4);
        let pixel =
            |at: i64| (PI * ((at % side) as f64 + 0.5) * frequency as f64 / side as f64).cos();
        let wave: Vec<f32> = (0..side * side)
            .map(|at| (100.0 + 50.0 * pixel(at)) as f32)
            .collect();
        let images = Tensor::from_slice(&wave)
            .view([1, 1, side, side])
            .expand([1, 3, side, side], false);
        let tones = Vec::<f32>::try_from(sketcher.tones(&images).unwrap().flatten(0, -1)).unwrap();
        let largest = tones
            .iter()
            .map(|tone| tone.abs())
            .enumerate()
            .max_by(|a, b| a.1.total_cmp(&b.1));
        // The first horizontal frequency is 2.
        assert_eq!(largest.unwrap().0, frequency / 2 - 1);
        let rest: f32 = tones.iter().map(|tone| tone.abs()).sum::<f32>() - largest.unwrap().1;
        assert!(rest < 0.01 * largest.unwrap().1, "{tones:?}");
    }

    #[test]
    fn a_mirrored_picture_has_the_same_tones() {
        let (_variables, sketcher) = sketcher();
        let pixels: Vec<u8> = (0..3 * 64 * 64u32)
            .map(|at| (at * at % 251) as u8)
            .collect();
        let images = Tensor::from_slice(&pixels).view([1, 3, 64, 64]);
        let tones = sketcher.tones(&images).unwrap();
        let mirrored = sketcher.tones(&images.flip([3])).unwrap();
        let size = |tensor: &Tensor| f64::try_from(tensor.abs().max()).unwrap();
        assert!(size(&(&tones - mirrored)) < 1e-3 * size(&tones), "{tones}");
    }

    #[test]
    fn tones_have_their_share_of_a_sketch() {
        let (_variables, sketcher) = sketcher();
        let options = (Kind::Float, Device::Cpu);
        let projection = Tensor::eye(4, options).narrow(1, 0, 3);
        let deviation = Tensor::ones([TONES as i64], options);
        sketcher
            .set(&Tensor::ones([4], options), &projection, &deviation)
            .unwrap();
        let features = Tensor::from_slice(&[4f32, 1.0, 1.0, 9.0, 1.0, 1.0, 1.0, 1.0]).view([2, 4]);
        let tones = Tensor::ones([2, TONES as i64], options);
        let vectors = sketcher.vectors(&features, &tones).unwrap();
        let entry = |image: i64, entry: i64| vectors.double_value(&[image, entry]);
        assert!((entry(0, 0) - (1.0 - TONE_SHARE).sqrt()).abs() < 1e-6);
        assert!((entry(0, 3) - (TONE_SHARE / TONES as f64).sqrt()).abs() < 1e-6);
        // A feature equal to the mean leaves only the tones.
        assert_eq!(entry(1, 0), 0.0);
        assert_eq!(
            sketcher.sketches(&features, &tones).unwrap()[1].values()[3..],
            [127; TONES]
        );
    }
}
