//! What the backbone sees in pictures and in changed copies of them, and what of a model is made of that without a gradient: the sketch, and what
//! is wanted of each bit.
//! Knows features and matrices; neither files of models nor policies.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tch::{Kind, Tensor};

use super::super::{
    Progress, TrainError,
    components::{Spread, turn},
    data::Item,
    views,
};
use super::Weights;
use crate::model;
use crate::model::Card;
use crate::model::ModelError;
use crate::model::Network;
use crate::model::Pass;
use crate::model::TONES;
use crate::options::Train;
use scihcgrl_image::change;

/// How often each picture is seen: as it is, and changed otherwise each time.
pub(super) const VIEWS: usize = 5;
/// Bytes of a sketch.
pub(super) const SKETCH: usize = 192;
/// The fewest pictures that a model can learn from: more than there are directions in a sketch.
pub const FEWEST: usize = SKETCH + 64;
/// What classes count for in a target, against a feature whose distance from the mean is 1 in the mean.
const CLASSES: f64 = 1.0;

/// What the backbone sees in pictures and in changed copies of them.
pub(super) struct Seen {
    /// The pictures that could be read, by their places among the items.
    pub numbers: Vec<usize>,
    /// Of the pictures first, then of each round of copies: `[pictures, feature]`.
    pub features: Vec<Tensor>,
    /// Of the pictures: `[pictures, TONES]`.
    tones: Tensor,
}

impl Seen {
    pub fn of(
        network: &Network,
        items: &[&Item],
        config: &Train,
        tell: &mut dyn FnMut(Progress),
    ) -> Result<Self, TrainError> {
        let device = network.variables.device();
        let pass = Pass {
            train: false,
            kind: model::kind(config.compute.precision, device),
        };
        let (mut all, mut numbers, mut tones) = (Vec::new(), Vec::new(), Vec::new());
        for view in 0..VIEWS {
            let changed = |number: usize, picture: ::image::RgbImage| {
                if view == 0 {
                    return Ok(picture);
                }
                let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
                rng.set_stream((number * VIEWS + view) as u64);
                // What cannot be done to a picture leaves it as it is.
                Ok(change::random(&picture, &mut rng).unwrap_or(picture))
            };
            let (mut features, mut read) = (Vec::new(), Vec::new());
            views::each(items, config.input(), &changed, |batch| {
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
                tell(Progress {
                    stage: "features",
                    epoch: view + 1,
                    epochs: VIEWS,
                    step: view * items.len() + read.last().map_or(0, |last| last + 1),
                    steps: VIEWS * items.len(),
                    ..Progress::default()
                });
                Ok::<_, ModelError>(())
            })?;
            if view == 0 {
                numbers = read;
                few(numbers.len())?;
            } else if numbers != read {
                return Err(TrainError::Data {
                    path: "the pictures".into(),
                    reason: "some could be read first and no longer later".to_owned(),
                });
            }
            all.push(Tensor::f_cat(&features, 0).map_err(ModelError::from)?);
        }
        Ok(Seen {
            numbers,
            features: all,
            tones: Tensor::f_cat(&tones, 0).map_err(ModelError::from)?,
        })
    }

    /// Sets the network's sketcher. `kinds` says of which kind each picture is, `[pictures, entries]`, and has a share of a sketch's squared
    /// length, not counting tones.
    pub fn sketch(
        &self,
        network: &Network,
        ridge: f64,
        kinds: Option<(&Tensor, f64)>,
    ) -> Result<(), ModelError> {
        let Some(sketcher) = &network.sketcher else {
            return Ok(());
        };
        let spread = Spread::of(&self.features[0], &self.features[1..])?;
        let projected = (SKETCH - TONES) as i64;
        let projection = match kinds {
            None => spread.components(projected, ridge, 0.0)?,
            Some((kinds, share)) => {
                let map = spread.regression(&self.features[0], kinds)?;
                let own = spread.components(projected - map.size2()?.1, ridge, 0.0)?;
                let scale = spread
                    .size(&own)?
                    .f_div(&spread.size(&map)?.f_clamp_min(1e-12)?)?;
                let scale = scale.f_mul_scalar(share / (1.0 - share))?.f_sqrt()?;
                Tensor::f_cat(&[own, map.f_mul(&scale)?], 1)?
            }
        };
        let deviation = self.tones.f_std_dim([0i64].as_slice(), true, false)?;
        let deviation = deviation.f_clamp_min(1e-6)?;
        sketcher.set(&spread.mean()?, &projection, &deviation)
    }

    /// Sets the map of the network's environment, and returns the values that it wants for the pictures: `[heads, pictures, bits]`.
    pub fn wanted(
        &self,
        network: &Network,
        card: &Card,
        weights: &Weights,
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
            let seen = self
                .features
                .iter()
                .map(|features| environment.seen(features));
            let seen = seen.collect::<Result<Vec<_>, _>>()?;
            let scale = seen[0].f_ones_like()?.f_get(0)?.f_mul_scalar(CLASSES)?;
            let _ = scale.f_narrow(0, 0, feature)?.f_fill_(1.0 / length)?;
            let scaled = seen.iter().map(|seen| Ok(seen.f_mul(&scale)?));
            let scaled = scaled.collect::<Result<Vec<_>, ModelError>>()?;
            let spread = Spread::of(&scaled[0], &scaled[1..])?;
            let centred = scaled[0].f_sub(&spread.mean()?)?.f_to_kind(Kind::Double)?;
            let heads = card.lengths.iter().map(|length| {
                let components =
                    spread.components(length.bits() as i64, weights.ridge, weights.evenness)?;
                let turn = turn(&centred.f_matmul(&components)?, seed)?;
                let map = components.f_matmul(&turn)?.f_to_kind(Kind::Float)?;
                Ok(map.f_mul(&scale.f_unsqueeze(1)?)?)
            });
            let heads = heads.collect::<Result<Vec<_>, ModelError>>()?;
            environment.set_map(&spread.mean()?.f_div(&scale)?, &heads)?;
            environment.wanted(&self.features[0])
        })
    }
}

/// Refuses fewer pictures than a model can learn from.
fn few(pictures: usize) -> Result<(), TrainError> {
    match pictures < FEWEST {
        false => Ok(()),
        true => Err(TrainError::Few {
            found: pictures,
            least: FEWEST,
        }),
    }
}
