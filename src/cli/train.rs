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
    train::{
        self,
        data::Collection,
        unlabelled::{sketch, train_unlabelled},
    },
};

/// What is trained on, and what for.
pub(super) enum Data {
    /// Labelled images, for a model of their classes.
    Labelled(PathBuf),
    /// Folders of pictures, for a model of whatever they show; and a published classifier.
    Unlabelled(Vec<PathBuf>, PathBuf),
    /// Folders of pictures, for a sketch of a trained model.
    Sketch(Vec<PathBuf>, PathBuf),
}

/// Trains.
pub(super) fn run(data: Data, out: &Path, restart: bool, options: &Train) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut show = Show::default();
    let tell = &mut |progress: train::Progress| show.tell(&progress);
    match data {
        Data::Labelled(data) => train::train(&data, out, options, restart, tell)?,
        Data::Unlabelled(folders, classifier) => {
            let collection = Collection::unlabelled(&folders)?;
            train_unlabelled(&collection, &classifier, out, options, tell)?
        }
        Data::Sketch(folders, model) => {
            let collection = Collection::unlabelled(&folders)?;
            let items: Vec<_> = collection.items.iter().collect();
            sketch(&model, &items, out, options, tell)?
        }
    };
    println!(
        "wrote {} after {} s",
        out.display(),
        started.elapsed().as_secs()
    );
    Ok(())
}

/// Steps between two log lines.
const LOGGED: usize = 100;

/// A progress bar on a terminal, a log line every hundred steps elsewhere.
#[derive(Default)]
pub(super) struct Show {
    bar: Option<(&'static str, ProgressBar)>,
    /// The last step that was logged.
    logged: usize,
}

impl Show {
    pub fn tell(&mut self, progress: &train::Progress) {
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
        } else if step == steps || step / LOGGED != self.logged / LOGGED {
            self.logged = step;
            tracing::info!("{words}  step {step}/{steps}");
        }
    }
}
