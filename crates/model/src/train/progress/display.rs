//! Shows progress: a progress bar on a terminal, otherwise a log line every hundred steps.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

use crate::train::progress::Progress;

/// Number of steps between two log lines.
const LOG_INTERVAL: usize = 100;

/// Shows progress on a terminal or in the log.
#[derive(Default)]
pub struct ProgressDisplay {
    bar: Option<(&'static str, ProgressBar)>,
    /// The last step that was logged.
    logged: usize,
}

impl ProgressDisplay {
    /// Shows a step.
    pub fn show(&mut self, progress: &Progress) {
        let mut words = format!("{} {}/{}", progress.stage, progress.epoch, progress.epochs);
        if progress.stage != "features" {
            words += &format!("  loss {:.4}  reward {:.4}", progress.loss, progress.reward);
        }
        let (stage, step, steps) = (progress.stage, progress.step, progress.steps);
        if let Some(validation) = &progress.validation {
            let shares: Vec<String> = validation
                .iter()
                .map(|share| format!("{share:.4}"))
                .collect();
            tracing::info!("{words}  validation {}", shares.join(" "));
        } else if std::io::stderr().is_terminal() {
            if self.bar.as_ref().is_none_or(|(of, _)| *of != stage) {
                let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {eta} left  {msg}");
                let bar = ProgressBar::new(steps as u64);
                self.bar = Some((
                    stage,
                    style.map_or(bar.clone(), |style| bar.with_style(style)),
                ));
            }
            if let Some((_, bar)) = &self.bar {
                bar.set_position(step as u64);
                bar.set_message(words);
            }
        } else if step == steps || step / LOG_INTERVAL != self.logged / LOG_INTERVAL {
            self.logged = step;
            tracing::info!("{words}  step {step}/{steps}");
        }
    }
}
