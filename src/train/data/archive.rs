//! A tar archive of class folders, packed or not: `class/file` are the last two parts of a path in it.
//! Knows tar and gzip. Images of a packed one are held in memory as they are; those of a plain one are read where they lie.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufReader, Read},
    path::Path,
    sync::Arc,
};

use flate2::read::MultiGzDecoder;

use super::{Collection, Form, Found, Source, TrainError, cifar, collect, wrong};

/// Lists an archive's files by class, then name; hidden ones and those beside the class folders are left out. One that holds
/// CIFAR-10's batches is read as such.
pub(super) fn open(path: &Path, packed: bool) -> Result<Collection, TrainError> {
    let files = files(path, packed)
        .map_err(|error| wrong(path, format!("it cannot be read as a tar archive: {error}")))?;
    let named = |(name, source): &(String, Source)| (last(name).to_owned(), source.clone());
    if let Some(batches) = cifar::among(&files.iter().map(named).collect::<Vec<_>>()) {
        return cifar::open(path, batches);
    }
    // As in a folder: what lies beside the class folders is in none of them.
    let mut above = BTreeSet::new();
    for (name, _) in &files {
        let folders = Path::new(name).ancestors().skip(2);
        above.extend(folders.map(Path::to_owned));
    }
    let mut found = Vec::new();
    for (name, source) in files {
        let folder = Path::new(&name).parent().unwrap_or(Path::new(""));
        let hidden = name.starts_with('.') || name.contains("/.");
        if let Some(class) = folder
            .file_name()
            .filter(|_| !hidden && !above.contains(folder))
        {
            found.push(Found {
                labels: vec![class.to_string_lossy().into_owned()],
                name,
                source,
                form: Form::Encoded,
            });
        }
    }
    found.sort_by(|a, b| (&a.labels, &a.name).cmp(&(&b.labels, &b.name)));
    collect(path, &[], found)
}

fn last(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn files(path: &Path, packed: bool) -> std::io::Result<Vec<(String, Source)>> {
    let file = BufReader::new(File::open(path)?);
    let reader: Box<dyn Read> = match packed {
        true => Box::new(MultiGzDecoder::new(file)),
        false => Box::new(file),
    };
    let whole: Arc<Path> = path.into();
    let mut files = Vec::new();
    for entry in tar::Archive::new(reader).entries()? {
        let mut entry = entry?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = entry.path()?.to_string_lossy().into_owned();
        let name = name.strip_prefix("./").unwrap_or(&name).to_owned();
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
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use flate2::{Compression, write::GzEncoder};

    use super::super::samples::{listed, refused, tree, write};

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    }

    #[test]
    fn an_archive_holds_what_its_folder_holds() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        tree(&at("photos"));
        let mut plain = tar::Builder::new(Vec::new());
        plain.append_dir_all("photos", at("photos")).unwrap();
        let plain = plain.into_inner().unwrap();
        write(folder.path(), "a.tar", &plain);
        write(folder.path(), "a.tar.gz", packed(&plain));
        fs::copy(at("a.tar.gz"), at("a.TGZ")).unwrap();

        let expected = super::super::open(&at("photos")).unwrap();
        let names: Vec<String> = listed(&expected)
            .into_iter()
            .map(|(name, _)| format!("photos/{name}"))
            .collect();
        for archive in ["a.tar", "a.tar.gz", "a.TGZ"] {
            let collection = super::super::open(&at(archive)).unwrap();
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
    fn what_is_no_archive_is_said() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "a.tar.gz", "no archive");
        write(folder.path(), "a.tar", [7; 1024]);
        for name in ["a.tar.gz", "a.tar"] {
            let words = refused(&folder.path().join(name));
            assert!(words.contains("cannot be read as a tar archive"), "{words}");
        }
    }
}
