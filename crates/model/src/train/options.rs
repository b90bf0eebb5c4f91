//! Checks of training options, each by itself and in combination.

use std::fmt::Display;

use crate::{
    checkpoint::{HIDDEN_RANGE, SIDE_RANGE},
    options::{Cell, Train},
    train::{error::TrainError, objective::Objective},
};

/// Refuses options that are out of range or do not fit together.
///
/// # Errors
/// [`TrainError::Option`] for the first that is wrong.
pub fn check(config: &Train, objective: &dyn Objective) -> Result<(), TrainError> {
    let Train { policy, .. } = config;
    let share = |value: f64| (0.0..=1.0).contains(&value);
    let side = SIDE_RANGE.contains(&config.input_size);
    check_option("input size", config.input_size, side, "32 to 512")?;
    check_option(
        "batch size",
        config.batch_size,
        config.batch_size >= 2,
        "at least 2",
    )?;
    check_option(
        "smoothing",
        config.smoothing,
        share(config.smoothing),
        "0 to 1",
    )?;
    check_option("augment", config.augment, share(config.augment), "0 to 1")?;
    check_option(
        "dropout",
        config.dropout,
        share(config.dropout / 0.95),
        "0 to 0.95",
    )?;
    check_option(
        "average",
        config.average,
        share(config.average / 0.99999),
        "0 to 0.99999",
    )?;
    check_option(
        "hidden",
        policy.hidden,
        policy.hidden >= 8 && HIDDEN_RANGE.contains(&policy.hidden),
        "8 to 2048",
    )?;
    check_option(
        "passes",
        policy.passes,
        (1..=16).contains(&policy.passes),
        "1 to 16",
    )?;
    check_option(
        "step epochs",
        config.step_epochs,
        config.step_epochs > 0,
        "at least 1",
    )?;
    let kept = config.validation_fraction;
    check_option("validation fraction", kept, share(2.0 * kept), "0 to 0.5")?;
    let epochs = config.epochs + config.warm_up_epochs;
    let learns = epochs > 0 || !objective.learns();
    check_option(
        "epochs and warm-up epochs",
        epochs,
        learns,
        "at least 1 together",
    )?;
    let mixes = share(config.mix) && (config.mix == 0.0 || objective.has_centers());
    check_option(
        "mix",
        config.mix,
        mixes,
        "0 to 1, and 0 for a method without hash centres",
    )?;
    let taught = config.teacher.is_none() || objective.has_centers();
    check_option(
        "method",
        objective.name(),
        taught,
        "one with hash centres if there is a teacher",
    )?;
    let kept = if config.teacher.is_some() { 0.0 } else { kept };
    let watched = config.patience == 0 || (kept > 0.0 && objective.has_centers());
    let expected = "0 without a validation fraction, or for a method without hash centres";
    check_option("patience", config.patience, watched, expected)?;
    let stateful = policy.classifier.is_none() || policy.cell != Cell::Linear;
    check_option(
        "cell",
        "linear",
        stateful,
        "another for unlabelled images: it has no state for wanted values",
    )
}

fn check_option(
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
