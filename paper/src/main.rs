//! `scihcgrl-paper`: reproduces the paper's protocol with its method and rival methods.
//!
//! - `reproduce`: the protocol, its tables and figures
//! - `methods`: rival methods
//! - `data`: published data sets
//! - `frozen`: policies on fixed features

#![forbid(unsafe_code)]

mod data;
mod frozen;
mod methods;
mod reproduce;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use scihcgrl_model::train::{self, ProgressDisplay};

use methods::Training;

/// Reproduce the SCIHCGRL paper and compare its method with rivals.
#[derive(Parser)]
#[command(version, args_override_self = true)]
enum Command {
    /// Reproduce the paper's tables: its protocol, all methods and ablations, over several seeds.
    /// The same command resumes a run that was stopped.
    Reproduce(Box<reproduce::Reproduce>),
    /// Train backbone and policies by any of the methods. The same command resumes a training that
    /// was stopped.
    Train {
        /// A data set in any form that `scihcgrl train` takes, CIFAR-10's binary batches, or
        /// NUS-WIDE's folder.
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
            let (collection, mut display) = (data::open(&data)?, ProgressDisplay::default());
            let (options, objective) = (&training.train, training.objective());
            let report = &mut |progress| display.show(&progress);
            train::train_on(
                &collection,
                None,
                &out,
                options,
                &*objective,
                restart,
                report,
            )?;
            println!("wrote {}", out.display());
            Ok(())
        }
    }
}
