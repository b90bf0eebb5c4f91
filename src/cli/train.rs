//! `scihcgrl train`: which training is asked for, and how far it is, as a progress bar on a terminal and as log lines elsewhere.
//! Knows how progress reads; nothing of how anything is trained.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use crate::{
    config::Train,
    train::{
        self,
        data::Collection,
        reinforce::Reinforce,
        show::Show,
        unlabelled::{sketch, train_unlabelled},
    },
};

/// What is trained on, and what for.
pub(crate) enum Data {
    /// Labelled images, for a model of their classes.
    Labelled(PathBuf),
    /// Folders of pictures, for a model of whatever they show; and a published classifier.
    Unlabelled(Vec<PathBuf>, PathBuf),
    /// Folders of pictures, for a sketch of a trained model.
    Sketch(Vec<PathBuf>, PathBuf),
}

/// Trains.
pub(crate) fn run(data: Data, out: &Path, restart: bool, options: &Train) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut show = Show::default();
    let tell = &mut |progress: train::Progress| show.tell(&progress);
    match data {
        Data::Labelled(data) => {
            let objective = Reinforce::from(options);
            train::train(&data, out, options, &objective, restart, tell)?
        }
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
