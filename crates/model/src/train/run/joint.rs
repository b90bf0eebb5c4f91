//! The second stage: trains both networks together by back-propagation. After each epoch, validates
//! on images that are not trained on, and saves the model and the state to resume from.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use rand::{Rng, seq::SliceRandom};
use tch::{Device, Kind, Tensor};

use crate::{
    error::ModelError,
    network::{Network, backbone::Pass},
    train::{
        data::{
            augment::Augment,
            prefetch::{self, BatchPlan, FEATURE_BATCH, ImageBatch, Prefetch, maker_threads},
        },
        error::TrainError,
        optimizer::{Optimizer, Rates, average::Average, flat::FlatVariables, schedule},
        progress::{Progress, tracker::ProgressTracker},
        resume::{self, ResumePoint, SavedTraining},
        run::{Run, Stage, StepInput, TrainingImages, mix::cut_mix},
    },
};

/// The speed of the last epoch.
#[derive(Default)]
pub(crate) struct EpochPace {
    /// Share of the time in which the device waited for pictures.
    pub waiting_share: f64,
    /// Images per second.
    pub images_per_second: f64,
}

/// Saves a network. Takes the network, the progress, the validation accuracies and the pace.
pub(crate) type SaveFn<'a> =
    dyn FnMut(&Network, &ResumePoint, &[f64], EpochPace) -> Result<(), ModelError> + 'a;

impl Run<'_> {
    /// Trains both networks together, from where `saved` ends.
    pub(crate) fn joint(
        &self,
        network: &Network,
        images: &TrainingImages<'_>,
        out: &Path,
        saved: SavedTraining,
        report: &mut dyn FnMut(Progress),
        save: &mut SaveFn<'_>,
    ) -> Result<(), TrainError> {
        let config = self.config;
        let variables = &network.variables;
        let flat = FlatVariables::of(variables)?;
        let mut optimizer = Optimizer::new(&flat, config)?;
        let mut average = Average::new(&flat, config.average)?;
        let SavedTraining { mut point, tensors } = saved;
        if !tensors.is_empty() {
            optimizer.restore(&tensors)?;
            if let Some(average) = &mut average {
                average.restore(&tensors)?;
            }
        }
        let pass = Pass {
            train: true,
            ..self.pass
        };
        // A batch norm cannot normalise a batch of one image, so such a last batch is left out.
        let size = config.batch_size;
        let count = images.train.len();
        let per_epoch = count / size + usize::from(count % size > 1);
        let steps = config.epochs * per_epoch;
        let mut tracker = ProgressTracker::new(
            "joint",
            config.epochs,
            steps,
            self.max_loss(),
            self.read_interval(),
        );
        tracker.resume_at(point.epoch * per_epoch);
        let (began, before) = (Instant::now(), point.seconds);
        let mut written: Option<(Instant, Duration)> = None;
        for epoch in point.epoch + 1..=config.epochs {
            let mut rng = self.random(Stage::Joint, epoch);
            let mut order = images.train.clone();
            order.shuffle(&mut rng);
            let batches = order.chunks(size).filter(|numbers| numbers.len() > 1);
            let plan = BatchPlan {
                pictures: images.pictures,
                batches: batches.map(|numbers| (rng.random(), numbers)).collect(),
                side: config.input_size,
                augment: Some(Augment::new(config.augment)),
            };
            let started = Instant::now();
            let waited = std::thread::scope(|scope| {
                let mut prefetch =
                    Prefetch::start(scope, plan, maker_threads(self.device), self.device);
                for batch in prefetch.by_ref() {
                    let ImageBatch {
                        indices, images, ..
                    } = batch?;
                    let (images, mix_share) = cut_mix(&images, config.mix, &mut rng)?;
                    let features = network.features(&images, pass)?;
                    let factor = schedule::rate_factor(config, tracker.step(), steps, per_epoch);
                    let input = StepInput {
                        indices,
                        mix_share,
                        done: tracker.step() as f64 / steps as f64,
                        rates: Rates {
                            backbone: factor * config.backbone_rate,
                            policy: factor * config.policy_rate,
                        },
                    };
                    let learned = self.learn(&network.policy, &features, &input, &mut optimizer);
                    tracker.add(learned?)?;
                    if let Some(average) = &mut average {
                        average.update()?;
                    }
                    report(tracker.progress_at(epoch, None));
                }
                tracker.read()?;
                Ok::<_, TrainError>(prefetch.waited())
            })?;
            let trained = started.elapsed();
            point.epoch = epoch;
            point.seconds = before + began.elapsed().as_secs();
            let swap =
                |average: &mut Option<Average>| average.as_mut().map_or(Ok(()), Average::swap);
            swap(&mut average)?;
            let validation = self.validate(network, images)?;
            let mean = validation.iter().sum::<f64>() / validation.len().max(1) as f64;
            point.stale = if mean > point.best {
                0
            } else {
                point.stale + 1
            };
            point.best = point.best.max(mean);
            if config.patience == 0 || point.stale == 0 {
                let pace = EpochPace {
                    waiting_share: waited.as_secs_f64() / trained.as_secs_f64(),
                    images_per_second: count as f64 / trained.as_secs_f64(),
                };
                save(network, &point, &validation, pace)?;
            }
            swap(&mut average)?;
            // Saves the state only so often that saving takes at most a tenth of the time.
            if written.is_none_or(|(at, took)| at.elapsed() >= 10 * took) {
                let began = Instant::now();
                let kept = variables.variables().into_iter();
                let kept = kept.map(|(name, value)| (format!("value.{name}"), value.detach()));
                let mut state: Vec<_> = kept.chain(optimizer.state()?).collect();
                if let Some(average) = &average {
                    state.extend(average.state()?);
                }
                resume::write(out, &point, &state)?;
                written = Some((Instant::now(), began.elapsed()));
            }
            report(tracker.progress_at(epoch, Some(validation)));
            let patient = config.patience == 0 || point.stale < config.patience;
            if !patient || tracker.loss() < config.stop_loss {
                break;
            }
        }
        Ok(())
    }

    /// Returns, for each length, the share of validation images whose code is nearest to its own
    /// target.
    pub(crate) fn validate(
        &self,
        network: &Network,
        images: &TrainingImages<'_>,
    ) -> Result<Vec<f64>, ModelError> {
        if !self.objective.has_centers() {
            return Ok(Vec::new());
        }
        let (numbers, side) = (&images.validation, self.config.input_size);
        let plan = BatchPlan::unchanged(images.pictures, numbers, FEATURE_BATCH, side);
        let right = prefetch::map_batches(plan, self.device, |batch| {
            tch::no_grad(|| {
                let features = network.features(&batch.images, self.pass)?;
                let logits = network.policy.logits(&features)?;
                self.targets.count_nearest(&logits, &batch.indices)
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
