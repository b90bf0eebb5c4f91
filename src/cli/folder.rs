//! Files under paths that a user names, each with the folder it lies in as its class.
//! Knows names only; opens no file and judges no picture.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};

/// A file that may be a picture.
pub(super) struct File {
    /// Where it is.
    pub path: PathBuf,
    /// Its path from the folder named, or its name where the file itself was.
    pub relative: PathBuf,
}

impl File {
    /// The name of the folder it lies in, if that is below the folder named.
    pub fn class(&self) -> Option<String> {
        let folder = self.relative.parent()?.file_name()?;
        Some(folder.to_string_lossy().into_owned())
    }
}

/// The files at a path, sorted: itself, or all under it, hidden ones left out.
///
/// # Errors
/// Where the path is not there, cannot be read, or holds no file.
pub(super) fn files(path: &Path) -> anyhow::Result<Vec<File>> {
    let mut found = Vec::new();
    if path.is_file() {
        found.push(path.to_owned());
    } else {
        walk(path, &mut found)?;
    }
    ensure!(!found.is_empty(), "{} holds no file", path.display());
    found.sort();
    Ok(found
        .into_iter()
        .map(|file| File {
            relative: match file.strip_prefix(path) {
                Ok(rest) if rest != Path::new("") => rest.to_owned(),
                _ => file.file_name().unwrap_or_default().into(),
            },
            path: file,
        })
        .collect())
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let unreadable = || format!("cannot read {}", folder.display());
    for entry in fs::read_dir(folder).with_context(unreadable)? {
        let entry = entry.with_context(unreadable)?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        // A link to a folder is not followed, for it may lead back up.
        match entry.file_type().with_context(unreadable)? {
            kind if kind.is_dir() => walk(&entry.path(), found)?,
            _ if entry.path().is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_with_their_classes() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        for name in ["one", "a/two", "a/b/three", "a/.hidden"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let found: Vec<_> = files(folder.path())
            .unwrap()
            .iter()
            .map(|file| (file.relative.display().to_string(), file.class()))
            .collect();
        let class = |name: &str| Some(name.to_owned());
        let expected = [
            ("a/b/three".to_owned(), class("b")),
            ("a/two".to_owned(), class("a")),
            ("one".to_owned(), None),
        ];
        assert_eq!(found, expected);
        let one = files(&folder.path().join("a/two")).unwrap();
        assert_eq!((one.len(), one[0].class()), (1, None));
        assert!(files(&folder.path().join("none")).is_err());
    }
}
