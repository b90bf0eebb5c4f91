//! The learning rate over a run: a short linear rise, then the schedule.

use crate::options::{Schedule, Train};

/// Maximum number of steps over which a rate rises. It rises over at most a fifth of all steps.
const RISE_STEPS: usize = 200;

/// Returns the factor, 0…1, of the highest rate at `step` of `steps`. An epoch has `per_epoch`
/// steps.
pub fn rate_factor(config: &Train, step: usize, steps: usize, per_epoch: usize) -> f64 {
    let rise = RISE_STEPS.min(steps / 5);
    if step < rise {
        return (step + 1) as f64 / rise as f64;
    }
    match config.schedule {
        Schedule::Constant => 1.0,
        Schedule::Step => {
            let falls = step / (per_epoch * config.step_epochs).max(1);
            config.step_factor.powi(falls as i32)
        }
        Schedule::Cosine => {
            let done = (step - rise) as f64 / steps.saturating_sub(rise).max(1) as f64;
            0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(schedule: &str) -> Train {
        Train::of(&["--schedule", schedule, "--step-epochs", "2"]).unwrap()
    }

    #[test]
    fn a_cosine_rises_then_falls() {
        let cosine = with("cosine");
        assert_eq!(rate_factor(&cosine, 0, 100, 10), 0.05);
        assert_eq!(rate_factor(&cosine, 20, 100, 10), 1.0);
        assert!(rate_factor(&cosine, 65, 100, 10) < 0.51);
        assert!(rate_factor(&cosine, 99, 100, 10) < 0.001);
        assert_eq!(rate_factor(&cosine, 0, 1, 1), 1.0);
    }

    #[test]
    fn a_rate_falls_by_steps_or_stays_constant() {
        let step = with("step");
        let rate_at = |step_number| rate_factor(&step, step_number, 100, 10);
        assert_eq!(
            (rate_at(39), rate_at(40), rate_at(60)),
            (0.7, 0.7 * 0.7, 0.7f64.powi(3))
        );
        assert_eq!(rate_factor(&with("constant"), 99, 100, 10), 1.0);
    }
}
