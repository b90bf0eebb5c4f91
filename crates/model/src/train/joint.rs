//! The second stage: both networks together by back-propagation, what they are watched by on images kept from training, and what
//! is written down after each epoch. Knows the order of that work; the step itself and the objective are its run's.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use super::{
    FEATURE_BATCH, Progress, TrainError,
    average::Average,
    data::{
        ahead::{self, Ahead, Batch, Plan, threads},
        augment::Augment,
        pictures::Pictures,
    },
    flat::Flat,
    mix::mixed,
    optimizer::{Optimizer, Rates},
    resume::{self, Begun, Mark},
    run::{Lesson, Run, Stage},
    schedule,
    watch::Watch,
};
use crate::model::{ModelError, Network, Pass};
use rand::{Rng, seq::SliceRandom};
use tch::{Device, Kind, Tensor};

/// The images of a training and of its validation, by number.
pub(super) struct Images<'a> {
    pub pictures: &'a Pictures,
    pub train: Vec<usize>,
    pub validation: Vec<usize>,
}

/// How the last epoch went.
#[derive(Default)]
pub(super) struct Pace {
    /// The share of time that the device waited for pictures.
    pub waited: f64,
    /// Images trained on a second.
    pub images: f64,
}

/// What is called with the network to be saved, where the training stands, the validation shares and the pace.
pub(super) type Save<'a> = dyn FnMut(&Network, &Mark, &[f64], Pace) -> Result<(), ModelError> + 'a;

impl Run<'_> {
    /// Trains both networks together from where `mark` stands.
    pub(super) fn joint(
        &self,
        network: &Network,
        images: &Images<'_>,
        out: &Path,
        begun: Begun,
        tell: &mut dyn FnMut(Progress),
        save: &mut Save<'_>,
    ) -> Result<(), TrainError> {
        let config = self.config;
        let variables = &network.variables;
        let flat = Flat::of(variables)?;
        let mut optimizer = Optimizer::new(&flat, config)?;
        let mut average = Average::start(&flat, config.average)?;
        let Begun { mut mark, state } = begun;
        if !state.is_empty() {
            optimizer.take_up(&state)?;
            if let Some(average) = &mut average {
                average.take_up(&state)?;
            }
        }
        let pass = Pass {
            train: true,
            ..self.pass
        };
        // A last batch of one image has no statistics to normalise by.
        let size = config.batch_size;
        let count = images.train.len();
        let per_epoch = count / size + usize::from(count % size > 1);
        let steps = config.epochs * per_epoch;
        let mut watch = Watch::new(
            "joint",
            config.epochs,
            steps,
            self.most_loss(),
            self.reading(),
        );
        watch.skip(mark.epoch * per_epoch);
        let (began, before) = (Instant::now(), mark.seconds);
        let mut written: Option<(Instant, Duration)> = None;
        for epoch in mark.epoch + 1..=config.epochs {
            let mut rng = self.random(Stage::Joint, epoch);
            let mut order = images.train.clone();
            order.shuffle(&mut rng);
            let batches = order.chunks(size).filter(|numbers| numbers.len() > 1);
            let plan = Plan {
                pictures: images.pictures,
                batches: batches.map(|numbers| (rng.random(), numbers)).collect(),
                side: config.input_size,
                augment: Some(Augment::new(config.augment)),
            };
            let started = Instant::now();
            let waited = std::thread::scope(|scope| {
                let mut ahead = Ahead::start(scope, plan, threads(self.device), self.device);
                for batch in ahead.by_ref() {
                    let Batch { places, images, .. } = batch?;
                    let (images, mixed) = mixed(&images, config.mix, &mut rng)?;
                    let features = network.features(&images, pass)?;
                    let factor = schedule::factor(config, watch.step(), steps, per_epoch);
                    let lesson = Lesson {
                        places,
                        mixed,
                        done: watch.step() as f64 / steps as f64,
                        rates: Rates {
                            backbone: factor * config.backbone_rate,
                            policy: factor * config.policy_rate,
                        },
                    };
                    let learned = self.learn(&network.policy, &features, &lesson, &mut optimizer);
                    watch.take(learned?)?;
                    if let Some(average) = &mut average {
                        average.take()?;
                    }
                    tell(watch.at(epoch, None));
                }
                watch.read()?;
                Ok::<_, TrainError>(ahead.waited())
            })?;
            let trained = started.elapsed();
            mark.epoch = epoch;
            mark.seconds = before + began.elapsed().as_secs();
            let swap = |average: &mut Option<Average>| {
                average
                    .as_mut()
                    .map_or(Ok(()), |average| average.exchange())
            };
            swap(&mut average)?;
            let validation = self.validate(network, images)?;
            let mean = validation.iter().sum::<f64>() / validation.len().max(1) as f64;
            mark.stale = if mean > mark.best { 0 } else { mark.stale + 1 };
            mark.best = mark.best.max(mean);
            if config.patience == 0 || mark.stale == 0 {
                let pace = Pace {
                    waited: waited.as_secs_f64() / trained.as_secs_f64(),
                    images: count as f64 / trained.as_secs_f64(),
                };
                save(network, &mark, &validation, pace)?;
            }
            swap(&mut average)?;
            // As often as it takes no more than a tenth of the time.
            if written.is_none_or(|(at, took)| at.elapsed() >= 10 * took) {
                let began = Instant::now();
                let kept = variables.variables().into_iter();
                let kept = kept.map(|(name, value)| (format!("value.{name}"), value.detach()));
                let mut state: Vec<_> = kept.chain(optimizer.state()?).collect();
                if let Some(average) = &average {
                    state.extend(average.state()?);
                }
                resume::write(out, &mark, &state)?;
                written = Some((Instant::now(), began.elapsed()));
            }
            tell(watch.at(epoch, Some(validation)));
            let patient = config.patience == 0 || mark.stale < config.patience;
            if !patient || watch.loss() < config.stop_loss {
                break;
            }
        }
        Ok(())
    }

    /// Per length, the share of validation images whose code is nearest to its own target.
    pub(super) fn validate(
        &self,
        network: &Network,
        images: &Images<'_>,
    ) -> Result<Vec<f64>, ModelError> {
        if !self.objective.has_centers() {
            return Ok(Vec::new());
        }
        let (numbers, side) = (&images.validation, self.config.input_size);
        let plan = Plan::unchanged(images.pictures, numbers, FEATURE_BATCH, side);
        let right = ahead::each(plan, self.device, |batch| {
            tch::no_grad(|| {
                let features = network.features(&batch.images, self.pass)?;
                let logits = network.policy.logits(&features)?;
                self.targets.nearest(&logits, &batch.places)
            })
        })?;
        if right.is_empty() {
            return Ok(Vec::new());
        }
        let right = Tensor::f_stack(&right, 0)?;
        let right = right.f_sum_dim_intlist([0i64].as_slice(), false, Kind::Double)?;
        let shares = right.f_div_scalar(images.validation.len() as f64)?;
        Ok(Vec::try_from(shares.f_to_device(Device::Cpu)?)?)
    }
}
