//! Tar archives of class folders, compressed or not. A path in an archive is `class/file` or
//! `class/folder/file`, possibly below one common folder. Images of a compressed archive are kept
//! in memory. Images of a plain archive are read from the file.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use flate2::read::MultiGzDecoder;

use crate::train::{
    data::{
        collection::{Collection, Content, ListedImage, collect, invalid},
        formats::{folder, tree},
        source::Source,
    },
    error::TrainError,
};

/// Maximum number of entries of an archive, because their names are kept in memory.
const MAX_ENTRIES: usize = 2_000_000;

/// Lists an archive's files by class, then by name.
pub(crate) fn open(path: &Path, packed: bool) -> Result<Collection, TrainError> {
    let (files, mut left_out) = list(path, packed)?;
    let mut files: Vec<_> = files
        .into_iter()
        .filter(|(name, _)| !is_ignored(name))
        .collect();
    let root = root(files.iter().map(|(name, _)| name.as_str()));
    files.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut found = Vec::new();
    for (name, source) in files {
        let relative = Path::new(&name).strip_prefix(&root).ok();
        match relative.and_then(tree::class) {
            Some(class) => found.push(ListedImage {
                labels: vec![class],
                name,
                source,
                content: Content::Encoded,
            }),
            None => left_out.push((name, folder::OUTSIDE_CLASSES.to_owned())),
        }
    }
    found.sort_by(|a, b| (&a.labels, &a.name).cmp(&(&b.labels, &b.name)));
    let collection = collect(path, &[], found)?;
    Ok(Collection {
        left_out,
        ..collection
    })
}

/// Returns the plain files of an archive by path, and all other entries with reasons.
///
/// # Errors
/// [`TrainError::Data`] if it cannot be read as a tar archive.
pub fn list(path: &Path, packed: bool) -> Result<Listing, TrainError> {
    let unreadable = |error| invalid(path, format!("it cannot be read as a tar archive: {error}"));
    files(path, packed, MAX_ENTRIES).map_err(unreadable)
}

/// Returns true if a file at this path does not belong to a data set because of its own name or
/// that of a folder that contains it.
fn is_ignored(name: &str) -> bool {
    let (folders, file) = name.rsplit_once('/').unwrap_or(("", name));
    let mut folders = folders.split('/');
    tree::is_ignored(file, false) || folders.any(|name| tree::is_ignored(name, true))
}

/// Returns the folder that contains the class folders. Usually it is the archive's root. If the
/// root contains only one folder of folders, such as the archived folder itself, it is the first
/// folder below with several folders or with pictures.
fn root<'a>(names: impl Iterator<Item = &'a str> + Clone) -> PathBuf {
    let mut root = PathBuf::new();
    loop {
        let below = names.clone().filter_map(|name| {
            let rest = Path::new(name).strip_prefix(&root).ok()?;
            let mut parts = rest.components();
            let (first, deeper) = (parts.next()?.as_os_str(), parts.count());
            // A README next to the class folders is no sign that this is the root.
            (deeper > 1 || tree::has_image_extension(name)).then_some((first, deeper))
        });
        let mut below = below.peekable();
        let Some(&(first, _)) = below.peek() else {
            return root;
        };
        // All files are in the same folder, and there in another folder.
        if !below.all(|(name, deeper)| name == first && deeper > 1) {
            return root;
        }
        root.push(first);
    }
}

/// The plain files of an archive, and the other entries except folders, with the reasons why they
/// are left out.
pub type Listing = (Vec<(String, Source)>, Vec<(String, String)>);

fn files(path: &Path, packed: bool, max_entries: usize) -> io::Result<Listing> {
    let file = BufReader::new(File::open(path)?);
    let reader: Box<dyn Read> = if packed {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    };
    let whole: Arc<Path> = path.into();
    let (mut files, mut others) = (Vec::new(), Vec::new());
    for (number, entry) in tar::Archive::new(reader).entries()?.enumerate() {
        if number == max_entries {
            return Err(io::Error::other(format!(
                "it has more than {max_entries} entries"
            )));
        }
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        let name = entry.path()?.to_string_lossy().into_owned();
        let name = name.strip_prefix("./").unwrap_or(&name).to_owned();
        if !kind.is_file() {
            if !kind.is_dir() && !kind.is_pax_global_extensions() {
                others.push((name, "it is a link or another special file".to_owned()));
            }
            continue;
        }
        let source = if packed {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            Source::Memory(bytes.into())
        } else {
            let start = entry.raw_file_position();
            Source::Part(whole.clone(), start..start + entry.size())
        };
        files.push((name, source));
    }
    Ok((files, others))
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use flate2::{Compression, write::GzEncoder};

    use crate::train::data::{
        self,
        samples::{listed, refused, tree, write},
    };

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    }

    #[test]
    fn an_archive_has_the_images_of_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path_of = |name: &str| folder.path().join(name);
        tree(&path_of("photos"));
        let mut plain = tar::Builder::new(Vec::new());
        plain.append_dir_all("photos", path_of("photos")).unwrap();
        let plain = plain.into_inner().unwrap();
        write(folder.path(), "a.tar", &plain);
        write(folder.path(), "a.tar.gz", packed(&plain));
        fs::copy(path_of("a.tar.gz"), path_of("a.TGZ")).unwrap();

        let expected = data::open(&path_of("photos")).unwrap();
        let names: Vec<String> = listed(&expected)
            .into_iter()
            .map(|(name, _)| format!("photos/{name}"))
            .collect();
        for archive in ["a.tar", "a.tar.gz", "a.TGZ"] {
            let collection = data::open(&path_of(archive)).unwrap();
            assert_eq!(collection.classes, ["cat", "dog"]);
            let found: Vec<&str> = listed(&collection).iter().map(|(name, _)| *name).collect();
            assert_eq!(found, names);
            for (found, expected) in collection.items.iter().zip(&expected.items) {
                assert_eq!(found.set, expected.set);
                assert_eq!(found.decode().ok(), expected.decode().ok());
            }
        }
    }

    #[test]
    fn a_folder_and_its_archive_are_the_same_data_set() {
        let folder = tempfile::tempdir().unwrap();
        let packed = "../../tests/fixtures/nested-classes.tar";
        let mut archive = tar::Archive::new(fs::File::open(packed).unwrap());
        archive.unpack(folder.path()).unwrap();
        let expected = data::list(&folder.path().join("photos")).unwrap();
        let collection = data::list(packed.as_ref()).unwrap();
        for collection in [&expected, &collection] {
            assert_eq!(collection.classes, ["cat", "dog"]);
            let counts =
                [0, 1].map(|set| collection.items.iter().filter(move |item| item.set == set));
            assert_eq!(counts.map(Iterator::count), [6, 3]);
            assert!(collection.left_out.is_empty(), "{:?}", collection.left_out);
        }
    }

    #[test]
    fn reading_stops_after_too_many_entries() {
        let packed = "../../tests/fixtures/nested-classes.tar".as_ref();
        assert!(super::files(packed, false, 100).is_ok());
        let error = super::files(packed, false, 3).err().unwrap();
        assert_eq!(error.to_string(), "it has more than 3 entries");
    }

    #[test]
    fn the_root_is_the_folder_whose_folders_are_classes() {
        let root_of = |names: &[&str]| super::root(names.iter().copied()).display().to_string();
        assert_eq!(root_of(&["cat/1.jpg", "dog/1.jpg"]), "");
        assert_eq!(root_of(&["cat/1.jpg", "cat/2019/2.jpg"]), "");
        assert_eq!(
            root_of(&["me/photos/cat/1.jpg", "me/photos/dog/2.jpg"]),
            "me/photos"
        );
        assert_eq!(
            root_of(&["photos/LICENCE", "photos/cat/1.jpg", "photos/dog/1"]),
            "photos"
        );
        assert_eq!(root_of(&["photos/1.jpg", "photos/cat/1.jpg"]), "");
        assert_eq!(root_of(&["photos/1.jxl", "photos/cat/1.jpg"]), "");
        assert_eq!(root_of(&["cat/1.jpg", "1.jpg"]), "");
        assert_eq!(root_of(&["cat/1", "dog/2"]), "");
        assert_eq!(root_of(&[]), "");
    }

    #[test]
    fn a_file_that_is_no_archive_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "a.tar.gz", "no archive");
        write(folder.path(), "a.tar", [7; 1024]);
        for name in ["a.tar.gz", "a.tar"] {
            let words = refused(&folder.path().join(name));
            assert!(words.contains("cannot be read as a tar archive"), "{words}");
        }
    }
}
