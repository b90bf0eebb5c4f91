//! A tree of folders as one data set, wherever it lies: which of its files may be pictures, and of which class each is, by the first folder
//! below the root.
//! Knows names; opens no file and judges no picture.

use std::{
    fs,
    io::{Error, Result},
    path::{Path, PathBuf},
};

use scihcgrl_index::nfc;

/// Folders that systems and programs make for themselves, small copies of pictures among them.
const OWN_FOLDERS: [&str; 7] = [
    "@eadir",
    "__macosx",
    "lost+found",
    "#recycle",
    "@recycle",
    "$recycle.bin",
    "system volume information",
];
/// Files that they make.
const OWN_FILES: [&str; 3] = ["thumbs.db", "ehthumbs.db", "desktop.ini"];
/// What files end in that say something of the pictures beside them.
const SIDECARS: [&str; 17] = [
    "txt", "md", "json", "jsonl", "csv", "xml", "xmp", "yaml", "yml", "html", "ini", "db", "log",
    "nfo", "aae", "thm", "url",
];

/// What pictures' names end in.
const PICTURES: [&str; 14] = [
    "jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "tif", "tiff", "heic", "heif",
    "avif", "jxl",
];

/// Why a folder is not gone into.
const LINK: &str = "links to folders are followed directly below the root alone";

/// A file that may be a picture.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct File {
    /// Its path from the root.
    pub relative: PathBuf,
    /// Where it is.
    pub path: PathBuf,
}

/// What is in a tree.
#[derive(Debug, Default)]
pub struct Tree {
    /// Sorted by their paths.
    pub files: Vec<File>,
    /// The folders directly below the root, sorted.
    pub folders: Vec<String>,
    /// Folders and files that cannot be read, and why.
    pub unreadable: Vec<(PathBuf, Error)>,
    /// What is neither a file nor a folder that is gone into, and why not.
    pub others: Vec<(PathBuf, &'static str)>,
}

/// The class of a file by its path from the root: the first folder, if it lies in one.
pub fn class(relative: &Path) -> Option<String> {
    let mut parts = relative.components();
    let first = parts.next()?;
    parts.next()?;
    Some(nfc(&first.as_os_str().to_string_lossy()).into_owned())
}

/// Whether a file or a folder of this name is none of a data set's, so that nobody misses it: it is hidden, of a system or a program, or goes
/// with a picture.
pub fn is_passed_over(name: &str, is_folder: bool) -> bool {
    let name = name.to_lowercase();
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    name.starts_with('.')
        || match is_folder {
            true => OWN_FOLDERS.contains(&&*name),
            false => OWN_FILES.contains(&&*name) || SIDECARS.contains(&extension),
        }
}

/// Whether a file's name ends as those of pictures do.
pub fn is_picture_by_name(name: &str) -> bool {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    PICTURES.contains(&&*extension.to_lowercase())
}

/// Lists a tree. What cannot be read of it is told of.
///
/// # Errors
/// If the root itself cannot be read.
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
        // Below the first level a link to a folder is not followed, for it may lead back up.
        let is_folder = match is_class {
            true => path.is_dir(),
            false => entry.file_type().is_ok_and(|kind| kind.is_dir()),
        };
        if is_passed_over(&name, is_folder) {
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
            Ok(found) if found.is_dir() => tree.others.push((path, LINK)),
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
    use super::super::samples::write;
    use super::*;

    #[test]
    fn files_are_of_the_first_folder_below_the_root() {
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
        assert_eq!(tree.others, [(root.join("a/up"), LINK)]);
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
