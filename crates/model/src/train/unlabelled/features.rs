//! Features of pictures and of their changed copies, and the parts of a model that are computed
//! from them without gradients: the sketch, and the map of wanted values.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use scihcgrl_image::change;
use tch::{Kind, Tensor};

use crate::{
    card::Card,
    device,
    error::ModelError,
    network::{Network, backbone::Pass, sketcher::TONES},
    options::Train,
    train::{
        data::{batches, collection::Item},
        error::TrainError,
        progress::Progress,
        unlabelled::{
            components::{Spread, itq_rotation},
            weights::DirectionWeights,
        },
    },
};

/// Number of features per picture: one of the picture itself, and one of each of its differently
/// changed copies.
pub(crate) const VIEWS_PER_IMAGE: usize = 5;
/// Bytes of a sketch.
pub(crate) const SKETCH_BYTES: usize = 192;
/// Minimum number of images to learn from. It is larger than the number of directions of a sketch.
pub const MIN_IMAGES: usize = SKETCH_BYTES + 64;
/// Weight of classes in a wanted value, relative to the feature, which is scaled to a mean distance
/// of 1 from its mean.
const CLASS_WEIGHT: f64 = 1.0;

/// Features of pictures and of changed copies of them.
pub(crate) struct CopyFeatures {
    /// The pictures that could be read, by their numbers among the items.
    pub numbers: Vec<usize>,
    /// Features of the pictures, then of each round of copies: `[pictures, feature]`.
    pub features: Vec<Tensor>,
    /// Tones of the pictures: `[pictures, TONES]`.
    tones: Tensor,
}

impl CopyFeatures {
    pub fn compute(
        network: &Network,
        items: &[&Item],
        config: &Train,
        report: &mut dyn FnMut(Progress),
    ) -> Result<Self, TrainError> {
        let device = network.variables.device();
        let pass = Pass {
            train: false,
            kind: device::kind(config.compute.precision, device),
        };
        let (mut all, mut numbers, mut tones) = (Vec::new(), Vec::new(), Vec::new());
        for view in 0..VIEWS_PER_IMAGE {
            let changed = |number: usize, picture: ::image::RgbImage| {
                if view == 0 {
                    return Ok(picture);
                }
                let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
                rng.set_stream((number * VIEWS_PER_IMAGE + view) as u64);
                // A picture that cannot be changed stays as it is.
                Ok(change::apply_random(&picture, &mut rng).unwrap_or(picture))
            };
            let (mut features, mut read) = (Vec::new(), Vec::new());
            batches::for_each(items, config.input(), &changed, |batch| {
                let rgb: Vec<u8> = batch
                    .pixels
                    .iter()
                    .flat_map(|one| &one.rgb)
                    .copied()
                    .collect();
                let images = network.upload(&rgb, config.input_size)?;
                features.push(tch::no_grad(|| network.features(&images, pass))?);
                if let Some(sketcher) = network.sketcher.as_ref().filter(|_| view == 0) {
                    tones.push(tch::no_grad(|| sketcher.tones(&images))?);
                }
                read.extend(batch.numbers);
                report(Progress {
                    stage: "features",
                    epoch: view + 1,
                    epochs: VIEWS_PER_IMAGE,
                    step: view * items.len() + read.last().map_or(0, |last| last + 1),
                    steps: VIEWS_PER_IMAGE * items.len(),
                    ..Progress::default()
                });
                Ok::<_, ModelError>(())
            })?;
            if view == 0 {
                numbers = read;
                check_count(numbers.len())?;
            } else if numbers != read {
                return Err(TrainError::Data {
                    path: "the pictures".into(),
                    reason: "some could be read at first but not later".to_owned(),
                });
            }
            all.push(Tensor::f_cat(&features, 0).map_err(ModelError::from)?);
        }
        Ok(CopyFeatures {
            numbers,
            features: all,
            tones: Tensor::f_cat(&tones, 0).map_err(ModelError::from)?,
        })
    }

    /// Sets the network's sketcher. `kinds` has a description of each picture's kind, `[pictures,
    /// entries]`, and the share of a sketch's squared length, not counting tones, that it gets.
    pub fn set_sketcher(
        &self,
        network: &Network,
        ridge: f64,
        kinds: Option<(&Tensor, f64)>,
    ) -> Result<(), ModelError> {
        let Some(sketcher) = &network.sketcher else {
            return Ok(());
        };
        let spread = Spread::measure(&self.features[0], &self.features[1..])?;
        let projected = (SKETCH_BYTES - TONES) as i64;
        let projection = match kinds {
            None => spread.components(projected, ridge, 0.0)?,
            Some((kinds, share)) => {
                let map = spread.regression(&self.features[0], kinds)?;
                let own = spread.components(projected - map.size2()?.1, ridge, 0.0)?;
                let scale = spread
                    .mean_square(&own)?
                    .f_div(&spread.mean_square(&map)?.f_clamp_min(1e-12)?)?;
                let scale = scale.f_mul_scalar(share / (1.0 - share))?.f_sqrt()?;
                Tensor::f_cat(&[own, map.f_mul(&scale)?], 1)?
            }
        };
        let deviation = self.tones.f_std_dim([0i64].as_slice(), true, false)?;
        let deviation = deviation.f_clamp_min(1e-6)?;
        sketcher.set(&spread.mean()?, &projection, &deviation)
    }

    /// Sets the map of the network's environment, and returns its wanted values for the pictures:
    /// `[heads, pictures, bits]`.
    pub fn set_map(
        &self,
        network: &Network,
        card: &Card,
        weights: &DirectionWeights,
        seed: u64,
    ) -> Result<Tensor, ModelError> {
        let Some(environment) = network.policy.environment() else {
            return Ok(Tensor::f_zeros(
                [0],
                (Kind::Float, network.variables.device()),
            )?);
        };
        tch::no_grad(|| {
            let feature = self.features[0].size2()?.1;
            let centred = self.features[0].f_sub(&self.features[0].f_mean_dim(
                [0i64].as_slice(),
                true,
                Kind::Float,
            )?)?;
            let lengths = centred.f_norm_scalaropt_dim(2.0, [1i64].as_slice(), false)?;
            let length = f64::try_from(lengths.f_mean(Kind::Double)?)?.max(1e-12);
            let observed = self
                .features
                .iter()
                .map(|features| environment.observed(features));
            let observed = observed.collect::<Result<Vec<_>, _>>()?;
            let scale = observed[0]
                .f_ones_like()?
                .f_get(0)?
                .f_mul_scalar(CLASS_WEIGHT)?;
            let _ = scale.f_narrow(0, 0, feature)?.f_fill_(1.0 / length)?;
            let scaled = observed.iter().map(|observed| Ok(observed.f_mul(&scale)?));
            let scaled = scaled.collect::<Result<Vec<_>, ModelError>>()?;
            let spread = Spread::measure(&scaled[0], &scaled[1..])?;
            let centred = scaled[0].f_sub(&spread.mean()?)?.f_to_kind(Kind::Double)?;
            let heads = card.lengths.iter().map(|length| {
                let components =
                    spread.components(length.bits() as i64, weights.ridge, weights.evenness)?;
                let itq_rotation = itq_rotation(&centred.f_matmul(&components)?, seed)?;
                let map = components.f_matmul(&itq_rotation)?.f_to_kind(Kind::Float)?;
                Ok(map.f_mul(&scale.f_unsqueeze(1)?)?)
            });
            let heads = heads.collect::<Result<Vec<_>, ModelError>>()?;
            environment.set_map(&spread.mean()?.f_div(&scale)?, &heads)?;
            environment.wanted(&self.features[0])
        })
    }
}

/// Refuses too few pictures to learn from.
fn check_count(pictures: usize) -> Result<(), TrainError> {
    if pictures < MIN_IMAGES {
        Err(TrainError::TooFewImages {
            found: pictures,
            min: MIN_IMAGES,
        })
    } else {
        Ok(())
    }
}
