//! Folders of class folders. The class of an image is the first folder below the root. No file is
//! opened.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::train::{
    data::{
        collection::{Collection, Content, ListedImage, collect, invalid},
        formats::tree::{self, Tree},
        source::Source,
    },
    error::TrainError,
};

/// The reason why an image has no class.
pub(crate) const OUTSIDE_CLASSES: &str = "it is next to the class folders, not in one";

/// Lists the files of each class folder by class, then by name.
pub(crate) fn open(path: &Path) -> Result<Collection, TrainError> {
    let (tree, mut left_out) = walk(path)?;
    let mut found = Vec::new();
    for file in tree.files {
        let name = file.relative.display().to_string();
        match tree::class(&file.relative) {
            Some(class) => found.push(ListedImage {
                name,
                labels: vec![class],
                source: Source::File(file.path),
                content: Content::Encoded,
            }),
            None => left_out.push((name, OUTSIDE_CLASSES.to_owned())),
        }
    }
    found.sort_by(|a, b| (&a.labels, &a.name).cmp(&(&b.labels, &b.name)));
    let collection = collect(path, &tree.folders, found)?;
    Ok(Collection {
        left_out,
        ..collection
    })
}

/// Lists a folder, and its left-out files with reasons.
pub(crate) fn walk(folder: &Path) -> Result<(Tree, Vec<(String, String)>), TrainError> {
    let mut tree = tree::walk(folder).map_err(|error| invalid(folder, error.to_string()))?;
    let unreadable = std::mem::take(&mut tree.unreadable).into_iter();
    let unreadable = unreadable.map(|(path, error)| (path, error.to_string()));
    let others = std::mem::take(&mut tree.others).into_iter();
    let others = others.map(|(path, reason)| (path, reason.to_owned()));
    let left_out = unreadable.chain(others);
    let left_out = left_out.map(|(path, reason)| (path.display().to_string(), reason));
    Ok((tree, left_out.collect()))
}

/// Lists the names in a folder, sorted, without hidden ones.
pub fn list(folder: &Path) -> Result<Vec<(String, PathBuf)>, TrainError> {
    let unreadable = |error: std::io::Error| invalid(folder, error.to_string());
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
    use super::*;
    use crate::train::data::{
        self,
        samples::{listed, png, refused, tree, write},
    };

    #[test]
    fn folders_are_classes_and_hidden_files_are_ignored() {
        let folder = tempfile::tempdir().unwrap();
        tree(folder.path());
        let collection = data::open(folder.path()).unwrap();
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
    fn omitted_files_are_listed() {
        let folder = tempfile::tempdir().unwrap();
        tree(folder.path());
        write(folder.path(), "loose.png", png(4, 4, [0; 3]));
        write(folder.path(), "cat/2019/old.png", png(4, 4, [0; 3]));
        fs::create_dir(folder.path().join("lost+found")).unwrap();
        let collection = data::open(folder.path()).unwrap();
        assert_eq!(collection.classes, ["cat", "dog"]);
        assert_eq!(listed(&collection)[0], ("cat/0.png", vec!["cat"]));
        assert!(listed(&collection).contains(&("cat/2019/old.png", vec!["cat"])));
        let mut left_out: Vec<_> = collection.left_out.iter().map(|(name, _)| name).collect();
        left_out.sort();
        assert_eq!(left_out, ["README", "loose.png"]);
        assert!(
            collection.left_out[0]
                .1
                .contains("next to the class folders")
        );
    }

    #[test]
    fn an_unusable_folder_is_refused_with_the_reason() {
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
