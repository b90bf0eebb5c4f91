//! The `scihcgrl` command: starts tracing, parses the arguments and dispatches. Knows no detail of what it starts.

use std::process::ExitCode;

use scihcgrl::cli::Cli;

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()),
        )
        .init();
    match Cli::read().and_then(Cli::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One sentence for whoever started it; a backtrace would only hide it.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
