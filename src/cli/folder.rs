//! Lists the files under the paths that a user names, and counts those that are left out.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::train::data::tree::{self, File, Tree};

/// Returns the file at a path, or the possible pictures under a folder, sorted. Does not open them.
///
/// # Errors
/// If the path does not exist or is a folder that cannot be read.
pub(crate) fn files(path: &Path) -> anyhow::Result<Tree> {
    if path.is_file() {
        let relative = PathBuf::from(path.file_name().unwrap_or_default());
        let file = File {
            relative,
            path: path.to_owned(),
        };
        return Ok(Tree {
            files: vec![file],
            ..Tree::default()
        });
    }
    let tree = tree::walk(path).with_context(|| format!("cannot read {}", path.display()))?;
    for (path, error) in &tree.unreadable {
        tracing::warn!(path = %path.display(), %error, "left out");
    }
    for (path, reason) in &tree.others {
        tracing::warn!(path = %path.display(), reason, "left out");
    }
    if tree.files.is_empty() {
        tracing::warn!(path = %path.display(), "the folder has no pictures");
    }
    Ok(tree)
}

/// The files that could not be processed: their number, and the first with its reason.
#[derive(Default)]
pub(crate) struct LeftOut {
    count: usize,
    first: Option<String>,
}

impl LeftOut {
    /// Adds and logs a file.
    pub fn add(&mut self, path: &Path, reason: impl ToString) {
        let reason = reason.to_string();
        tracing::warn!(path = %path.display(), reason, "left out");
        self.count += 1;
        (self.first).get_or_insert_with(|| format!("{}: {reason}", path.display()));
    }

    /// Adds the unreadable files of a tree, which [`files`] has logged.
    pub fn add_unreadable(&mut self, tree: &Tree) {
        self.count += tree.unreadable.len();
        if let (None, Some((path, error))) = (&self.first, tree.unreadable.first()) {
            self.first = Some(format!("{}: {error}", path.display()));
        }
    }

    /// # Errors
    /// If any file was left out.
    pub fn into_result(self) -> anyhow::Result<()> {
        match &self.first {
            None => Ok(()),
            Some(first) if self.count == 1 => anyhow::bail!("1 was left out: {first}"),
            Some(first) => anyhow::bail!("{} were left out, the first: {first}", self.count),
        }
    }
}
