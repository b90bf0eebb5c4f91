//! `scihcgrl train`: starts a training and shows its progress. The training itself is in the crate
//! `scihcgrl-model`.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use crate::{
    config::Train,
    train::{
        self, ProgressDisplay,
        data::Collection,
        objective::reinforce::Reinforce,
        unlabelled::{add_sketch, train_unlabelled},
    },
};

/// The images to train on. They determine the kind of training.
pub(crate) enum Data {
    /// Labelled images, for a model of their classes.
    Labelled(PathBuf),
    /// Folders of unlabelled pictures, and a published classifier, for a new model.
    Unlabelled(Vec<PathBuf>, PathBuf),
    /// Folders of unlabelled pictures, for a new sketch of a trained model.
    Sketch(Vec<PathBuf>, PathBuf),
}

pub(crate) fn run(data: Data, out: &Path, restart: bool, options: &Train) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut display = ProgressDisplay::default();
    let tell = &mut |progress: train::Progress| display.show(&progress);
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
            add_sketch(&model, &items, out, options, tell)?
        }
    };
    println!(
        "wrote {} after {} s",
        out.display(),
        started.elapsed().as_secs()
    );
    Ok(())
}
