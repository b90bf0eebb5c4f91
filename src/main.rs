//! The `scihcgrl` command: parses the arguments and dispatches. Knows no detail of what it starts.

use std::process::ExitCode;

use scihcgrl::cli::Cli;

fn main() -> ExitCode {
    match Cli::read().and_then(Cli::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One sentence without repeated causes. A backtrace would only hide it.
            let words = error.chain().fold(String::new(), |words, cause| {
                let cause = cause.to_string();
                match words.is_empty() {
                    true => cause,
                    false if words.contains(&cause) => words,
                    false => format!("{words}: {cause}"),
                }
            });
            eprintln!("error: {words}");
            ExitCode::FAILURE
        }
    }
}
