//! The directions in which pictures differ but their changed copies do not, and the rotation of
//! them whose signs keep the most information.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor};

use crate::error::ModelError;

/// Random starts of ITQ; the best one is used.
const RANDOM_STARTS: usize = 4;
/// Iterations of ITQ from each start.
const ITERATIONS: usize = 50;

/// The covariance of pictures and of their changes.
pub struct Spread {
    mean: Tensor,    // [entries]
    total: Tensor,   // [entries, entries]: covariance of the pictures
    changes: Tensor, // [entries, entries]: second moment of what changes do to a picture
}

impl Spread {
    /// Measures pictures, `[pictures, entries]`, and changed copies of them in the same order.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn measure(pictures: &Tensor, copies: &[Tensor]) -> Result<Self, ModelError> {
        let count = pictures.size()[0].max(1) as f64;
        let mean = pictures.f_mean_dim([0i64].as_slice(), false, Kind::Double)?;
        let moment = |difference: Tensor| -> Result<Tensor, ModelError> {
            let product = difference.f_tr()?.f_matmul(&difference)?;
            Ok(product.f_to_kind(Kind::Double)?.f_div_scalar(count)?)
        };
        let total = moment(pictures.f_sub(&mean.f_to_kind(Kind::Float)?)?)?;
        let mut changes = total.f_zeros_like()?;
        for copies in copies {
            let _ = changes.f_add_(&moment(copies.f_sub(pictures)?)?)?;
        }
        Ok(Spread {
            changes: changes.f_div_scalar(copies.len().max(1) as f64)?,
            mean,
            total,
        })
    }

    /// Returns the mean of the pictures: `[entries]`, `Float`.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn mean(&self) -> Result<Tensor, ModelError> {
        Ok(self.mean.f_to_kind(Kind::Float)?)
    }

    /// Returns the `count` directions in which pictures vary most relative to their changes
    /// (Fisher's discriminant, with a picture as the class of its copies): `[entries, count]`,
    /// `Double`. Divides each direction by its deviation to the power `evenness`: 0 changes
    /// nothing, 1 gives all the same weight. Adds `ridge` times the mean variance of changes in
    /// each direction, so that directions without change do not dominate. A larger ridge brings the
    /// result closer to the principal components.
    ///
    /// # Errors
    /// [`ModelError::Tensor`], also if there are fewer entries.
    pub fn components(&self, count: i64, ridge: f64, evenness: f64) -> Result<Tensor, ModelError> {
        let entries = self.total.size()[0];
        let identity = Tensor::f_eye(entries, (Kind::Double, self.total.device()))?;
        let ridge = self
            .changes
            .f_trace()?
            .f_mul_scalar(ridge / entries as f64)?;
        let ridge = ridge.f_clamp_min(1e-12)?;
        let (sizes, directions) = self
            .changes
            .f_add(&identity.f_mul(&ridge)?)?
            .f_linalg_eigh("L")?;
        // In these coordinates changes have the same size in every direction.
        let even = directions.f_div(&sizes.f_clamp_min(1e-300)?.f_sqrt()?)?;
        let total = even.f_tr()?.f_matmul(&self.total)?.f_matmul(&even)?;
        let (sizes, directions) = total.f_linalg_eigh("L")?;
        let largest =
            |all: &Tensor, dim: i64| all.f_narrow(dim, entries - count, count)?.f_flip([dim]);
        let weights = largest(&sizes, 0)?
            .f_clamp_min(1e-12)?
            .f_pow_tensor_scalar(-0.5 * evenness)?;
        Ok(even.f_matmul(&largest(&directions, 1)?)?.f_mul(&weights)?)
    }
}

impl Spread {
    /// Returns the linear map from `[pictures, entries]` to `[pictures, bits]`, both centred, that
    /// best predicts `answers` to the same pictures by ridge regression: `[entries, bits]`,
    /// `Double`.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn regression(&self, pictures: &Tensor, answers: &Tensor) -> Result<Tensor, ModelError> {
        let centred = |values: &Tensor| -> Result<Tensor, ModelError> {
            let values = values.f_to_kind(Kind::Double)?;
            Ok(values.f_sub(&values.f_mean_dim([0i64].as_slice(), true, Kind::Double)?)?)
        };
        let (pictures, answers) = (centred(pictures)?, centred(answers)?);
        let count = pictures.size()[0].max(1) as f64;
        let product = pictures.f_tr()?.f_matmul(&answers)?.f_div_scalar(count)?;
        let entries = self.total.size()[0];
        let identity = Tensor::f_eye(entries, (Kind::Double, self.total.device()))?;
        let ridge = self.total.f_trace()?.f_mul_scalar(0.1 / entries as f64)?;
        let ridge = identity.f_mul(&ridge.f_clamp_min(1e-12)?)?;
        Ok(Tensor::f_linalg_solve(
            &self.total.f_add(&ridge)?,
            &product,
            true,
        )?)
    }

    /// Returns the mean squared length of pictures mapped by `[entries, count]`: `[]`, `Double`.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn mean_square(&self, map: &Tensor) -> Result<Tensor, ModelError> {
        Ok(map.f_mul(&self.total.f_matmul(map)?)?.f_sum(Kind::Double)?)
    }
}

/// Returns the rotation of values `[pictures, bits]` whose signs keep the most information, by ITQ
/// (Gong and Lazebnik, 2011): `[bits, bits]`, `Double`, scaled so that rotated values have a mean
/// absolute value of 1. The same seed gives the same rotation.
///
/// # Errors
/// [`ModelError::Tensor`].
pub fn itq_rotation(values: &Tensor, seed: u64) -> Result<Tensor, ModelError> {
    // libtorch's generator is shared by the whole process.
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let starts = (0..RANDOM_STARTS).map(|_| rotation_from_random(values, &mut rng));
    let starts = starts.collect::<Result<Vec<_>, _>>()?;
    let best = starts
        .into_iter()
        .min_by(|(one, _), (other, _)| one.total_cmp(other));
    match best {
        Some((_, itq_rotation)) => Ok(itq_rotation),
        None => Ok(Tensor::f_eye(
            values.size2()?.1,
            (Kind::Double, Device::Cpu),
        )?),
    }
}

/// Runs ITQ from a random start. Returns the quantisation error and the rotation.
fn rotation_from_random(
    values: &Tensor,
    rng: &mut ChaCha8Rng,
) -> Result<(f64, Tensor), ModelError> {
    let bits = values.size2()?.1;
    let random: Vec<f64> = (0..bits * bits)
        .map(|_| rng.random_range(-1.0..1.0))
        .collect();
    let random = Tensor::f_from_slice(&random)?
        .f_view([bits, bits])?
        .f_to_device(values.device())?;
    let (mut itq_rotation, _) = Tensor::f_linalg_qr(&random, "reduced")?;
    for _ in 0..ITERATIONS {
        let signs = values.f_matmul(&itq_rotation)?.f_sign()?;
        let (u, _, v) = signs.f_tr()?.f_matmul(values)?.f_svd(true, true)?;
        itq_rotation = v.f_matmul(&u.f_tr()?)?;
    }
    let rotation_from_random = values.f_matmul(&itq_rotation)?;
    let size = rotation_from_random
        .f_abs()?
        .f_mean(Kind::Double)?
        .f_clamp_min(1e-12)?;
    let rotation_from_random = rotation_from_random.f_div(&size)?;
    let unsaid = rotation_from_random
        .f_sub(&rotation_from_random.f_sign()?)?
        .f_square()?;
    let unsaid = f64::try_from(unsaid.f_mean(Kind::Double)?)?;
    Ok((unsaid, itq_rotation.f_div(&size)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of variance 1 that depend only on the seed: other tests draw from libtorch's
    /// generator at the same time.
    fn random(shape: &[i64], seed: u64) -> Tensor {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let half = 3f32.sqrt();
        let values: Vec<f32> = (0..shape.iter().product())
            .map(|_: i64| rng.random_range(-half..half))
            .collect();
        Tensor::from_slice(&values).view(shape)
    }

    /// Pictures that differ in the first 4 of 8 entries, and copies that differ from them in the
    /// last 4, by more than pictures differ.
    fn pictures() -> (Tensor, Vec<Tensor>) {
        let sizes = Tensor::from_slice(&[4f32, 3.0, 2.0, 1.0, 0.1, 0.1, 0.1, 0.1]);
        let pictures = random(&[500, 8], 1) * &sizes;
        let change = Tensor::from_slice(&[0f32, 0.0, 0.0, 0.0, 5.0, 5.0, 5.0, 5.0]);
        let copies = (2..4).map(|seed| &pictures + random(&[500, 8], seed) * &change);
        let copies = copies.collect();
        (pictures, copies)
    }

    #[test]
    fn components_follow_pictures_and_ignore_changes() {
        let (pictures, copies) = pictures();
        let spread = Spread::measure(&pictures, &copies).unwrap();
        let components = spread.components(4, 3.0, 0.5).unwrap();
        let size = |from: i64| {
            f64::try_from(components.narrow(0, from, 4).abs().sum(Kind::Double)).unwrap()
        };
        assert!(size(0) > 50.0 * size(4), "{} {}", size(0), size(4));
        // Without copies they are the principal components.
        let principal = Spread::measure(&pictures, &[])
            .unwrap()
            .components(1, 3.0, 0.0)
            .unwrap();
        assert_eq!(principal.abs().argmax(0, false).int64_value(&[0]), 0);
    }

    #[test]
    fn a_regression_finds_the_map_of_the_answers() {
        let (pictures, _) = pictures();
        let map = random(&[8, 3], 4);
        let answers = pictures.matmul(&map) + 5.0;
        let spread = Spread::measure(&pictures, &[]).unwrap();
        let found = spread.regression(&pictures, &answers).unwrap();
        // The ridge damps entries that hardly vary and contribute little to the answers.
        let missed = map.to_kind(Kind::Double) - &found;
        let size = |map: &Tensor| f64::try_from(spread.mean_square(map).unwrap()).unwrap();
        let missed = size(&missed) / size(&map.to_kind(Kind::Double));
        assert!(missed < 0.02, "{missed}");
        let spread_of = size(&map.to_kind(Kind::Double));
        let direct = f64::try_from(
            (pictures.matmul(&map)
                - pictures
                    .matmul(&map)
                    .mean_dim([0i64].as_slice(), true, Kind::Float))
            .square()
            .sum(Kind::Double),
        )
        .unwrap()
            / 500.0;
        assert!(
            (spread_of / direct - 1.0).abs() < 1e-3,
            "{spread_of} {direct}"
        );
    }

    #[test]
    fn signs_of_rotated_values_keep_neighbours() {
        // 30 groups of 4.
        let groups = random(&[30, 1, 16], 1).expand([30, 4, 16], false);
        let values = (groups + random(&[30, 4, 16], 2) * 0.2)
            .reshape([120, 16])
            .to_kind(Kind::Double);
        let found = itq_rotation(&values, 1).unwrap();
        assert_eq!(found, itq_rotation(&values, 1).unwrap());
        let rotation_from_random = values.matmul(&found);
        let size = f64::try_from(rotation_from_random.abs().mean(Kind::Double)).unwrap();
        assert!((size - 1.0).abs() < 1e-9, "{size}");
        let signs = rotation_from_random.sign();
        let agree = signs.matmul(&signs.tr()) / 16.0;
        let mean = |near: bool| {
            let mut all = Vec::new();
            for i in 0..120 {
                for j in 0..i {
                    if (i / 4 == j / 4) == near {
                        all.push(agree.double_value(&[i, j]));
                    }
                }
            }
            all.iter().sum::<f64>() / all.len() as f64
        };
        assert!(
            mean(true) > 0.6 && mean(false).abs() < 0.2,
            "{} {}",
            mean(true),
            mean(false)
        );
    }
}
