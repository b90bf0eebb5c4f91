//! A TOML file of options: each key is a flag of one subcommand without its dashes, and gives that flag another default.
//! Knows clap's arguments by name; not what any of them means. Flags and environment variables stand above the file.

use std::{fs, path::Path};

use clap::Command;
use toml::Value;

/// What is wrong with a file of options.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is not TOML.
    #[error("{path} is not TOML: {reason}")]
    Syntax {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// A key that is no option, or a value that is none of an option's.
    #[error("{path}: '{key}' {reason}")]
    Key {
        /// The file.
        path: String,
        /// The key.
        key: String,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
}

/// The command, with the file's values as defaults of its subcommand's options.
///
/// # Errors
/// [`FileError`], by its variants. Values are checked as flags are, when the command line is parsed.
pub fn defaults_from(
    command: Command,
    subcommand: &str,
    path: &Path,
) -> Result<Command, FileError> {
    let name = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|source| FileError::Read {
        path: name.clone(),
        source,
    })?;
    let table: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| FileError::Syntax {
            path: name.clone(),
            reason: error.message().to_owned(),
        })?;
    let known: Vec<String> = command
        .find_subcommand(subcommand)
        .into_iter()
        .flat_map(Command::get_arguments)
        .filter(|argument| argument.get_long().is_some_and(|long| long != "config"))
        .map(|argument| argument.get_id().to_string())
        .collect();
    table
        .into_iter()
        .try_fold(command, |command, (key, value)| {
            let wrong = |reason: String| FileError::Key {
                path: name.clone(),
                key: key.clone(),
                reason,
            };
            let id = key.replace('-', "_");
            if !known.contains(&id) {
                return Err(wrong(format!(
                    "is no option of `{subcommand}`; there are {}",
                    known.join(", ")
                )));
            }
            let values = match &value {
                Value::Array(values) => values.iter().map(plain).collect(),
                single => plain(single).map(|single| vec![single]),
            };
            let values = values
                .ok_or_else(|| wrong("must be a text, a number or a list of them".to_owned()))?;
            Ok(command.mut_subcommand(subcommand, |subcommand| {
                subcommand.mut_arg(id, |argument| {
                    argument.required(false).default_values(values)
                })
            }))
        })
}

/// A value as it would stand on a command line.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => Some(value.to_string()),
        _ => None,
    }
}
