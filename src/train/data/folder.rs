//! A folder of class folders: the folder an image lies in is its class.
//! Knows names only; opens no file.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Collection, Form, Found, Source, TrainError, collect, wrong};

/// Lists the files of each class folder by class, then name; hidden ones are left out.
pub(super) fn open(path: &Path) -> Result<Collection, TrainError> {
    let (mut classes, mut found) = (Vec::new(), Vec::new());
    for (class, folder) in list(path)?.into_iter().filter(|(_, path)| path.is_dir()) {
        let files = list(&folder)?
            .into_iter()
            .filter(|(_, path)| path.is_file());
        found.extend(files.map(|(name, file)| Found {
            name: format!("{class}/{name}"),
            labels: vec![class.clone()],
            source: Source::File(file),
            form: Form::Encoded,
        }));
        classes.push(class);
    }
    collect(path, &classes, found)
}

/// All files below a folder, sorted, hidden ones left out.
pub(super) fn below(folder: &Path) -> Result<Vec<(String, PathBuf)>, TrainError> {
    let mut found = Vec::new();
    for (name, path) in list(folder)? {
        match path.is_dir() {
            true => found.extend(
                below(&path)?
                    .into_iter()
                    .map(|(rest, path)| (format!("{name}/{rest}"), path)),
            ),
            false => found.push((name, path)),
        }
    }
    Ok(found)
}

/// The names in a folder, sorted, without the hidden ones.
pub(super) fn list(folder: &Path) -> Result<Vec<(String, PathBuf)>, TrainError> {
    let unreadable = |error: std::io::Error| wrong(folder, error.to_string());
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            entries.push((name, entry.path()));
        }
    }
    entries.sort();
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::super::samples::{listed, png, refused, tree, write};
    use super::*;

    #[test]
    fn a_folder_is_its_class_and_hidden_files_are_none() {
        let folder = tempfile::tempdir().unwrap();
        tree(folder.path());
        let collection = super::super::open(folder.path()).unwrap();
        assert_eq!(collection.classes, ["cat", "dog"]);
        assert_eq!(collection.sets, [[0], [1]]);
        let names = "cat/0.png cat/1.png cat/2.png cat/3.png cat/broken.jpg dog/0.png dog/1.png dog/2.png dog/3.png";
        let found = listed(&collection);
        assert_eq!(
            found
                .iter()
                .map(|(name, _)| *name)
                .collect::<Vec<_>>()
                .join(" "),
            names
        );
        assert_eq!(found[5].1, ["dog"]);
        assert_eq!(collection.items[5].decode().unwrap().dimensions(), (8, 6));
        assert!(
            collection.items[4]
                .decode()
                .unwrap_err()
                .to_string()
                .contains("formats are")
        );
    }

    #[test]
    fn what_is_wrong_with_a_folder_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let none = refused(path);
        assert!(
            none.contains("no class with images; at least two are needed"),
            "{none}"
        );
        write(path, "cat/0.png", png(4, 4, [0; 3]));
        let one = refused(path);
        assert!(
            one.contains("'cat' is its only class; at least two are needed"),
            "{one}"
        );
        fs::create_dir(path.join("dog")).unwrap();
        let empty = refused(path);
        assert!(
            empty.contains("class 'dog' has no image; each needs at least one"),
            "{empty}"
        );
        let absent = refused(&path.join("bird"));
        assert!(absent.contains("a folder of class folders"), "{absent}");
        let unknown = refused(&path.join("cat/0.png"));
        assert!(unknown.contains("a .csv or .jsonl manifest"), "{unknown}");
    }
}
