//! Files under paths that a user names, each with its class: the folder directly below the one named that it lies in.
//! Knows names only; opens no file and judges no picture.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::train::data::tree::{self, File, Tree};

/// The files at a path, sorted, whether they can be read or not: itself, or what may be a picture under it.
///
/// # Errors
/// Where the path is not there, or is a folder that cannot be read.
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
        tracing::warn!(path = %path.display(), "no file in it may be a picture");
    }
    Ok(tree)
}

/// What was asked for and not done: so many, and the first of them with why.
#[derive(Default)]
pub(crate) struct Failed {
    count: usize,
    first: Option<String>,
}

impl Failed {
    /// Notes one, and tells of it.
    pub fn note(&mut self, path: &Path, reason: impl ToString) {
        let reason = reason.to_string();
        tracing::warn!(path = %path.display(), reason, "left out");
        self.count += 1;
        (self.first).get_or_insert_with(|| format!("{}: {reason}", path.display()));
    }

    /// Notes what cannot be read of a tree, which was told of.
    pub fn note_unreadable(&mut self, tree: &Tree) {
        self.count += tree.unreadable.len();
        if let (None, Some((path, error))) = (&self.first, tree.unreadable.first()) {
            self.first = Some(format!("{}: {error}", path.display()));
        }
    }

    /// # Errors
    /// If there are any.
    pub fn none(&self) -> anyhow::Result<()> {
        match &self.first {
            None => Ok(()),
            Some(first) if self.count == 1 => anyhow::bail!("1 was left out, {first}"),
            Some(first) => anyhow::bail!("{} were left out, the first: {first}", self.count),
        }
    }
}
