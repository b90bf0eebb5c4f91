//! The `scihcgrl` command: parses the arguments, runs the subcommand and prints its error.

use std::process::ExitCode;

use scihcgrl::cli::Cli;

fn main() -> ExitCode {
    match Cli::read().and_then(Cli::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Prints one sentence, without causes that repeat each other. A backtrace would only
            // hide it.
            let message = error.chain().fold(String::new(), |message, cause| {
                let cause = cause.to_string();
                match message.is_empty() {
                    true => cause,
                    false if message.contains(&cause) => message,
                    false => format!("{message}: {cause}"),
                }
            });
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}
