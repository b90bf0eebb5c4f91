//! A TOML file of options. Each key is a flag of a subcommand without its dashes, and changes that
//! flag's default; flags and environment variables override it.

use std::{fs, path::Path};

use clap::Command;
use toml::Value;

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot read {path}: {source}")]
    Read {
        path: String,
        source: std::io::Error,
    },
    #[error("{path} is not TOML: {reason}")]
    Syntax { path: String, reason: String },
    /// A key that is not an option, or a value of the wrong type.
    #[error("{path}: '{key}' {reason}")]
    Key {
        path: String,
        key: String,
        reason: String,
    },
}

/// Returns the command with the file's values as defaults of a subcommand's options. Parsing the
/// command line checks the values.
///
/// # Errors
/// [`FileError`].
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
                    "is not an option of `{subcommand}`; the options are {}",
                    known.join(", ")
                )));
            }
            let values = match &value {
                Value::Array(values) => values.iter().map(plain).collect(),
                single => plain(single).map(|single| vec![single]),
            };
            let values = values.ok_or_else(|| {
                wrong("must be a string, a number, a boolean or a list of these".to_owned())
            })?;
            Ok(command.mut_subcommand(subcommand, |subcommand| {
                subcommand.mut_arg(id, |argument| {
                    argument.required(false).default_values(values)
                })
            }))
        })
}

/// Returns a value in the form that it has on a command line.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => Some(value.to_string()),
        _ => None,
    }
}
