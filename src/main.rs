//! The `scihcgrl` command: parses the arguments and dispatches. Knows no detail of what it starts.

use std::process::ExitCode;

use scihcgrl::cli::Cli;

fn main() -> ExitCode {
    match Cli::read().and_then(Cli::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One sentence for whoever started it; a backtrace would only hide it.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
