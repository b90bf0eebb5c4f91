//! Checks of training options, each by itself and in combination.

use crate::{
    checkpoint::{HIDDEN_RANGE, SIDE_RANGE},
    options::{Cell, OptionError, Train, check_option, check_range},
    train::objective::Objective,
};

/// Refuses options that are out of range or do not fit together.
///
/// # Errors
/// [`OptionError`] for the first that is wrong.
pub fn check(config: &Train, objective: &dyn Objective) -> Result<(), OptionError> {
    let Train { policy, .. } = config;
    let check_at_least = |option, number: usize, min: usize| {
        check_option(option, number, number >= min, format!("at least {min}"))
    };
    check_range("input size", config.input_size, SIDE_RANGE)?;
    check_at_least("batch size", config.batch_size, 2)?;
    check_range("smoothing", config.smoothing, 0.0..=1.0)?;
    check_range("augment", config.augment, 0.0..=1.0)?;
    check_range("dropout", config.dropout, 0.0..=0.95)?;
    check_range("average", config.average, 0.0..=0.99999)?;
    check_range("hidden", policy.hidden, 8..=*HIDDEN_RANGE.end())?;
    check_range("passes", policy.passes, 1..=16)?;
    check_at_least("step epochs", config.step_epochs, 1)?;
    let held_out = config.validation_fraction;
    check_range("validation fraction", held_out, 0.0..=0.5)?;
    let epochs = config.epochs + config.warm_up_epochs;
    check_option(
        "epochs and warm-up epochs",
        epochs,
        epochs > 0 || !objective.learns(),
        "at least 1 together",
    )?;
    check_option(
        "mix",
        config.mix,
        (0.0..=1.0).contains(&config.mix) && (config.mix == 0.0 || objective.has_centers()),
        "0 to 1, and 0 for a method without hash centres",
    )?;
    check_option(
        "method",
        objective.name(),
        config.teacher.is_none() || objective.has_centers(),
        "one with hash centres if there is a teacher",
    )?;
    let validates = config.teacher.is_none() && held_out > 0.0;
    check_option(
        "patience",
        config.patience,
        config.patience == 0 || validates && objective.has_centers(),
        "0 without a validation fraction, or for a method without hash centres",
    )?;
    check_option(
        "cell",
        "linear",
        policy.classifier.is_none() || policy.cell != Cell::Linear,
        "another for unlabelled images: it has no state for wanted values",
    )
}
