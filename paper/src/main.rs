//! `scihcgrl-paper`: the paper's protocol, and its rivals, on the model that the service serves.
//!
//! `reproduce/` the protocol, its tables and figures · `methods/` the rivals · `data/` their data sets in published
//! form · `frozen` policies on features that stand still.

#![forbid(unsafe_code)]

mod data;
mod frozen;
mod methods;
mod reproduce;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use scihcgrl_model::train::{self, show::Show};

use methods::Training;

/// Compare the method of SCIHCGRL with its rivals.
#[derive(Parser)]
#[command(version, args_override_self = true)]
enum Command {
    /// Reproduce the paper's tables: its protocol, all methods and ablations, over several seeds. Resumes where it was stopped.
    Reproduce(Box<reproduce::Reproduce>),
    /// Train both networks by any of the methods. A training that was stopped resumes if the command is given again.
    Train {
        /// A data set that `scihcgrl train` reads, CIFAR-10's binary batches, or NUS-WIDE's own folder.
        #[arg(long)]
        data: PathBuf,
        /// The checkpoint to write.
        #[arg(long)]
        out: PathBuf,
        /// Start over instead of resuming.
        #[arg(long)]
        restart: bool,
        /// The method and its options.
        #[command(flatten)]
        training: Box<Training>,
    },
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
    match run(Command::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Reproduce(reproduce) => reproduce::run(&reproduce),
        Command::Train {
            data,
            out,
            restart,
            training,
        } => {
            let (collection, mut show) = (data::open(&data)?, Show::default());
            let (options, objective) = (&training.train, training.objective());
            let tell = &mut |progress| show.tell(&progress);
            train::train_on(&collection, None, &out, options, &*objective, restart, tell)?;
            println!("wrote {}", out.display());
            Ok(())
        }
    }
}
