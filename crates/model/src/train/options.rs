//! What a training's options may be, each by itself and together. Knows ranges; reads no data and trains nothing.

use std::fmt::Display;

use super::{TrainError, objective::Objective};
use crate::{
    model::checkpoint::{HIDDEN, SIDES},
    options::{Cell, Train},
};

/// Refuses options out of their ranges, or that do not go together.
///
/// # Errors
/// [`TrainError::Option`], for the first.
pub fn check(config: &Train, objective: &dyn Objective) -> Result<(), TrainError> {
    let Train { policy, .. } = config;
    let share = |value: f64| (0.0..=1.0).contains(&value);
    let side = SIDES.contains(&config.input_size);
    held("input size", config.input_size, side, "32 to 512")?;
    held(
        "batch size",
        config.batch_size,
        config.batch_size >= 2,
        "at least 2",
    )?;
    held(
        "smoothing",
        config.smoothing,
        share(config.smoothing),
        "0 to 1",
    )?;
    held("augment", config.augment, share(config.augment), "0 to 1")?;
    held(
        "dropout",
        config.dropout,
        share(config.dropout / 0.95),
        "0 to 0.95",
    )?;
    held(
        "average",
        config.average,
        share(config.average / 0.99999),
        "0 to 0.99999",
    )?;
    held(
        "hidden",
        policy.hidden,
        policy.hidden >= 8 && HIDDEN.contains(&policy.hidden),
        "8 to 2048",
    )?;
    held(
        "passes",
        policy.passes,
        (1..=16).contains(&policy.passes),
        "1 to 16",
    )?;
    held(
        "step epochs",
        config.step_epochs,
        config.step_epochs > 0,
        "at least 1",
    )?;
    let kept = config.validation_fraction;
    held("validation fraction", kept, share(2.0 * kept), "0 to 0.5")?;
    let epochs = config.epochs + config.warm_up_epochs;
    let learns = epochs > 0 || !objective.learns();
    held(
        "epochs and warm-up epochs",
        epochs,
        learns,
        "at least 1 together",
    )?;
    let mixes = share(config.mix) && (config.mix == 0.0 || objective.has_centers());
    held(
        "mix",
        config.mix,
        mixes,
        "0 to 1, and 0 for a method without hash centres",
    )?;
    let taught = config.teacher.is_none() || objective.has_centers();
    held(
        "method",
        objective.name(),
        taught,
        "one with hash centres, since there is a teacher",
    )?;
    let kept = if config.teacher.is_some() { 0.0 } else { kept };
    let watched = config.patience == 0 || (kept > 0.0 && objective.has_centers());
    let expected = "0 without a validation fraction, or for a method without hash centres";
    held("patience", config.patience, watched, expected)?;
    let stateful = policy.classifier.is_none() || policy.cell != Cell::Linear;
    held(
        "cell",
        "linear",
        stateful,
        "another for unlabelled images: it has no state for what is wanted",
    )
}

fn held(
    option: &'static str,
    found: impl Display,
    right: bool,
    expected: &'static str,
) -> Result<(), TrainError> {
    match right {
        true => Ok(()),
        false => Err(TrainError::Option {
            option,
            found: found.to_string(),
            expected,
        }),
    }
}
