//! `scihcgrl train`: which training is asked for, and how far it is, as a progress bar on a terminal and as log lines elsewhere.
//! Knows how progress reads; nothing of how anything is trained.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    time::Instant,
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    config::Train,
    train::{self, data::Collection},
};

/// Trains on labelled images, or on folders of others with the classifier that says what each may be.
pub(super) fn run(
    (data, unlabelled, classifier): (Option<PathBuf>, Vec<PathBuf>, Option<PathBuf>),
    out: &Path,
    restart: bool,
    options: &Train,
) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut show = Show::default();
    let tell = &mut |progress: train::Progress| show.tell(&progress);
    match (data, classifier) {
        (Some(data), _) => train::train(&data, out, options, restart, tell)?,
        (None, Some(classifier)) => train::unlabelled::train_unlabelled(
            &Collection::unlabelled(&unlabelled)?,
            &classifier,
            out,
            options,
            tell,
        )?,
        (None, None) => anyhow::bail!("--data or --unlabelled says what to train on"),
    };
    println!(
        "wrote {} after {} s",
        out.display(),
        started.elapsed().as_secs()
    );
    Ok(())
}

/// A progress bar on a terminal, a log line every hundred steps elsewhere.
#[derive(Default)]
pub(super) struct Show {
    bar: Option<(&'static str, ProgressBar)>,
}

impl Show {
    pub fn tell(&mut self, progress: &train::Progress) {
        let words = format!(
            "{} {}/{}  loss {:.4}  reward {:.4}",
            progress.stage, progress.epoch, progress.epochs, progress.loss, progress.reward
        );
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
        } else if step % 100 == 0 || step == steps {
            tracing::info!("{words}  step {step}/{steps}");
        }
    }
}
