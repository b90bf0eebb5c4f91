//! A tree of folders as a data set: the files that can be images, and their classes. The class of a
//! file is the first folder below the root. No file is opened.

use std::{
    fs,
    io::{Error, Result},
    path::{Path, PathBuf},
};

use scihcgrl_index::nfc;

/// Folders that systems and programs create, some with small copies of pictures.
const SYSTEM_FOLDERS: [&str; 7] = [
    "@eadir",
    "__macosx",
    "lost+found",
    "#recycle",
    "@recycle",
    "$recycle.bin",
    "system volume information",
];
/// Files that systems create.
const SYSTEM_FILES: [&str; 3] = ["thumbs.db", "ehthumbs.db", "desktop.ini"];
/// Extensions of files that describe the pictures next to them.
const SIDECAR_EXTENSIONS: [&str; 17] = [
    "txt", "md", "json", "jsonl", "csv", "xml", "xmp", "yaml", "yml", "html", "ini", "db", "log",
    "nfo", "aae", "thm", "url",
];

/// Extensions of pictures.
const IMAGE_EXTENSIONS: [&str; 14] = [
    "jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "tif", "tiff", "heic", "heif",
    "avif", "jxl",
];

/// The reason why a linked folder is not entered.
const LINK_REASON: &str = "links to folders are followed only directly below the root";

/// A file that can be a picture.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct File {
    /// Its path relative to the root.
    pub relative: PathBuf,
    /// Its full path.
    pub path: PathBuf,
}

/// The contents of a tree.
#[derive(Debug, Default)]
pub struct Tree {
    /// The files, sorted by path.
    pub files: Vec<File>,
    /// The folders directly below the root, sorted.
    pub folders: Vec<String>,
    /// Folders and files that cannot be read, with errors.
    pub unreadable: Vec<(PathBuf, Error)>,
    /// Other entries that are not followed, with reasons.
    pub others: Vec<(PathBuf, &'static str)>,
}

/// Returns the class of a file with this path relative to the root: the first folder of the path.
/// Returns `None` if the file is directly below the root.
pub fn class(relative: &Path) -> Option<String> {
    let mut parts = relative.components();
    let first = parts.next()?;
    parts.next()?;
    Some(nfc(&first.as_os_str().to_string_lossy()).into_owned())
}

/// Returns true if a file or folder of this name does not belong to a data set: it is hidden,
/// belongs to a system or a program, or describes a picture.
pub fn is_ignored(name: &str, is_folder: bool) -> bool {
    let name = name.to_lowercase();
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    name.starts_with('.')
        || if is_folder {
            SYSTEM_FOLDERS.contains(&&*name)
        } else {
            SYSTEM_FILES.contains(&&*name) || SIDECAR_EXTENSIONS.contains(&extension)
        }
}

/// Returns true if a file has the extension of a picture.
pub fn has_image_extension(name: &str) -> bool {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    IMAGE_EXTENSIONS.contains(&&*extension.to_lowercase())
}

/// Lists a tree, including its unreadable files and folders.
///
/// # Errors
/// Returns an error if the root itself cannot be read.
pub fn walk(root: &Path) -> Result<Tree> {
    let mut tree = Tree::default();
    enter(root, Path::new(""), &mut tree)?;
    tree.files.sort();
    tree.folders.sort();
    Ok(tree)
}

fn enter(folder: &Path, relative: &Path, tree: &mut Tree) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let relative = relative.join(&name);
        let name = name.to_string_lossy();
        let is_class = relative.components().nth(1).is_none();
        // Below the first level a linked folder is not entered, because the link can lead back up.
        let is_folder = if is_class {
            path.is_dir()
        } else {
            entry.file_type().is_ok_and(|kind| kind.is_dir())
        };
        if is_ignored(&name, is_folder) {
            continue;
        }
        if is_folder {
            match enter(&path, &relative, tree) {
                Ok(()) if is_class => tree.folders.push(name.into_owned()),
                Ok(()) => {}
                Err(error) => tree.unreadable.push((path, error)),
            }
            continue;
        }
        match fs::metadata(&path) {
            Ok(found) if found.is_file() => tree.files.push(File { relative, path }),
            Ok(found) if found.is_dir() => tree.others.push((path, LINK_REASON)),
            Ok(_) => tree
                .others
                .push((path, "it is neither a file nor a folder")),
            Err(error) => tree.unreadable.push((path, error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::data::samples::write;

    #[test]
    fn the_class_is_the_first_folder_below_the_root() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for name in [
            "one.jpg",
            "a/two.jpg",
            "a/b/three.jpg",
            "a/.hidden/four.jpg",
            "a/._two.jpg",
            "a/Thumbs.db",
            "a/two.XMP",
            "a/@eaDir/two.jpg",
            "__MACOSX/a/two.jpg",
            ".thumbnails/two.jpg",
            "c/clip.mp4",
        ] {
            write(root, name, "");
        }
        fs::create_dir(root.join("lost+found")).unwrap();
        std::os::unix::fs::symlink(root, root.join("a/up")).unwrap();
        std::os::unix::fs::symlink(root.join("a/b"), root.join("linked")).unwrap();
        std::os::unix::fs::symlink(root.join("gone"), root.join("a/gone.jpg")).unwrap();
        let tree = walk(root).unwrap();
        let found: Vec<_> = tree
            .files
            .iter()
            .map(|file| (file.relative.to_str().unwrap(), class(&file.relative)))
            .collect();
        let class = |name: &str| Some(name.to_owned());
        let expected = [
            ("a/b/three.jpg", class("a")),
            ("a/two.jpg", class("a")),
            ("c/clip.mp4", class("c")),
            ("linked/three.jpg", class("linked")),
            ("one.jpg", None),
        ];
        assert_eq!(found, expected);
        assert_eq!(tree.folders, ["a", "c", "linked"]);
        assert_eq!(tree.others, [(root.join("a/up"), LINK_REASON)]);
        let [(path, error)] = &tree.unreadable[..] else {
            panic!("{:?}", tree.unreadable);
        };
        assert_eq!(
            (path, error.kind()),
            (&root.join("a/gone.jpg"), std::io::ErrorKind::NotFound)
        );
        assert!(walk(&root.join("none")).is_err());
    }
}
