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
        ahead::{Ahead, Plan},
        augment::Augment,
        pictures::Pictures,
    },
    method,
    mix::mixed,
    optimizer::{Optimizer, Rates},
    resume::{self, Begun, Mark},
    run::{Lesson, Run, Stage},
    schedule,
    watch::Watch,
};
use crate::model::{ModelError, Network, Pass};
use rand::{Rng, seq::SliceRandom};

/// The images of a training and of its validation, by number.
pub(super) struct Images<'a> {
    pub pictures: &'a Pictures,
    pub train: Vec<usize>,
    pub validation: Vec<usize>,
}

/// How training went since it was begun or taken up.
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
        let mut optimizer = Optimizer::new(variables, config)?;
        let mut average = Average::start(variables, config.average)?;
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
        let mut watch = Watch::new("joint", config.epochs, steps, self.most_loss());
        watch.skip(mark.epoch * per_epoch);
        let (began, before) = (Instant::now(), mark.seconds);
        let (mut waited, mut trained) = (Duration::ZERO, Duration::ZERO);
        let first = mark.epoch;
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
            std::thread::scope(|scope| {
                let mut ahead = Ahead::start(scope, plan, self.decoders(), self.device);
                for batch in ahead.by_ref() {
                    let (numbers, pictures) = batch?;
                    let (pictures, share) = mixed(&pictures, config.mix, &mut rng)?;
                    let others: Vec<_> = numbers.iter().rev().copied().collect();
                    let features = network.features(&pictures, pass)?;
                    let factor = schedule::factor(config, watch.step(), steps, per_epoch);
                    let lesson = Lesson {
                        numbers,
                        mixed: share.map(|share| (others.as_slice(), share)),
                        done: watch.step() as f64 / steps as f64,
                        rates: Rates {
                            backbone: factor * config.backbone_rate,
                            policy: factor * config.policy_rate,
                        },
                    };
                    let learned = self.learn(&network.policy, &features, &lesson, &mut optimizer);
                    watch.take(learned?)?;
                    if let Some(average) = &mut average {
                        average.take(variables)?;
                    }
                    tell(watch.at(epoch, None));
                }
                waited += ahead.waited();
                Ok::<_, TrainError>(())
            })?;
            trained += started.elapsed();
            mark.epoch = epoch;
            mark.seconds = before + began.elapsed().as_secs();
            let swap = |average: &mut Option<Average>| {
                average
                    .as_mut()
                    .map_or(Ok(()), |average| average.exchange(variables))
            };
            swap(&mut average)?;
            let validation = self.validate(network, images)?;
            let mean = validation.iter().sum::<f64>() / validation.len().max(1) as f64;
            mark.stale = if mean > mark.best { 0 } else { mark.stale + 1 };
            mark.best = mark.best.max(mean);
            if config.patience == 0 || mark.stale == 0 {
                let seconds = trained.as_secs_f64();
                let pace = Pace {
                    waited: waited.as_secs_f64() / seconds,
                    images: ((epoch - first) * count) as f64 / seconds,
                };
                save(network, &mark, &validation, pace)?;
            }
            swap(&mut average)?;
            let kept = variables
                .variables()
                .into_iter()
                .map(|(name, value)| (format!("value.{name}"), value.detach()));
            let mut state: Vec<_> = kept.chain(optimizer.state()).collect();
            state.extend(average.iter().flat_map(Average::state));
            resume::write(out, &mark, &state)?;
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
        let mut right = Vec::new();
        if !method::has_targets(self.config.method) {
            return Ok(Vec::new());
        }
        for numbers in images.validation.chunks(FEATURE_BATCH) {
            let side = self.config.input_size;
            let pictures = images.pictures.batch(numbers, side, None, 0, self.device)?;
            let logits = tch::no_grad(|| {
                network
                    .policy
                    .logits(&network.features(&pictures, self.pass)?)
            })?;
            let hits = self.targets.nearest(&logits, numbers)?;
            right.resize(hits.len(), 0);
            right
                .iter_mut()
                .zip(hits)
                .for_each(|(right, hits)| *right += hits);
        }
        let count = images.validation.len().max(1) as f64;
        Ok(right
            .into_iter()
            .map(|right| right as f64 / count)
            .collect())
    }
}
