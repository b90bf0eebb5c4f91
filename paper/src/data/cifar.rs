//! CIFAR-10's binary batches: records of a label byte and three planes of 32 × 32 bytes, with the
//! names of the classes in a file next to them. The files come from a folder or from the published
//! archive.

use std::{io::Error, path::Path};

use scihcgrl_model::train::{
    TrainError,
    data::{Collection, Content, ListedImage, collect, invalid, source::Source},
};

/// Side of a picture, in pixels.
const SIDE: u32 = 32;
const PLANE: usize = (SIDE * SIDE) as usize;
const RECORD: usize = 1 + 3 * PLANE;
/// The file with the name of a class per line.
const NAMES: &str = "batches.meta.txt";
const TEST: &str = "test_batch.bin";

/// Returns true if a file has the name of a batch.
fn is_batch(name: &str) -> bool {
    name == TEST || (name.starts_with("data_batch_") && name.ends_with(".bin"))
}

/// Returns the batches and the file of class names among these files, or nothing if there is no
/// batch.
pub(super) fn among(files: &[(String, Source)]) -> Option<Vec<(String, Source)>> {
    let ours = files
        .iter()
        .filter(|(name, _)| is_batch(name) || name == NAMES);
    let any = files.iter().any(|(name, _)| is_batch(name));
    any.then(|| ours.cloned().collect())
}

/// Opens one batch by its path; the class names are next to it.
pub(super) fn file(path: &Path) -> Result<Collection, TrainError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut files = vec![(name.into_owned(), Source::File(path.to_owned()))];
    let names = path.with_file_name(NAMES);
    if names.is_file() {
        files.push((NAMES.to_owned(), Source::File(names)));
    }
    open(path, files)
}

/// Reads batches: the training batches if there are any, else the test batch.
pub(super) fn open(path: &Path, files: Vec<(String, Source)>) -> Result<Collection, TrainError> {
    let (names, mut batches): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|(name, _)| name == NAMES);
    if batches.iter().any(|(name, _)| name != TEST) {
        batches.retain(|(name, _)| name != TEST);
    }
    batches.sort_by(|(a, _), (b, _)| a.cmp(b));
    let unreadable = |name: &str, error: Error| invalid(path, format!("{name}: {error}"));
    let Some((_, names)) = names.first() else {
        return Err(invalid(
            path,
            format!(
                "next to CIFAR-10's batches there must be {NAMES} with the name of a class per line"
            ),
        ));
    };
    let names = names.read().map_err(|error| unreadable(NAMES, error))?;
    let names = String::from_utf8_lossy(&names);
    let names = names.lines().map(str::trim).filter(|name| !name.is_empty());
    let classes: Vec<String> = names.map(str::to_owned).collect();
    let mut found = Vec::new();
    for (name, source) in batches {
        let bytes = source.read().map_err(|error| unreadable(&name, error))?;
        if bytes.is_empty() || bytes.len() % RECORD != 0 {
            return Err(invalid(
                path,
                format!(
                    "{name} has {} bytes; it must have whole records of {RECORD} bytes",
                    bytes.len()
                ),
            ));
        }
        for (i, record) in bytes.chunks_exact(RECORD).enumerate() {
            let Some(class) = classes.get(usize::from(record[0])) else {
                return Err(invalid(
                    path,
                    format!(
                        "record {i} of {name} has class {}, but {NAMES} names {} classes, from 0",
                        record[0],
                        classes.len()
                    ),
                ));
            };
            found.push(ListedImage {
                name: format!("{name}/{i}"),
                labels: vec![class.clone()],
                source: source.part(i * RECORD + 1..(i + 1) * RECORD),
                content: Content::Planes(SIDE),
            });
        }
    }
    collect(path, &classes, found)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::samples::{listed, refused, write};
    use super::*;

    /// A batch with one record per label: red is the class, green the row and blue the column.
    fn batch(classes: &[u8]) -> Vec<u8> {
        let record = |&class: &u8| {
            let plane = |value: fn(u8, u8) -> u8| {
                (0..32).flat_map(move |y| (0..32).map(move |x| value(x, y)))
            };
            let colours = plane(|_, y| y).chain(plane(|x, _| x));
            let record = [class].into_iter().chain(std::iter::repeat_n(class, PLANE));
            record.chain(colours).collect::<Vec<u8>>()
        };
        classes.iter().flat_map(record).collect()
    }

    fn published(folder: &Path) {
        write(folder, "batches.meta.txt", "frog\ncar\n\n");
        write(folder, "data_batch_2.bin", batch(&[1]));
        write(folder, "data_batch_1.bin", batch(&[1, 0]));
        write(folder, "test_batch.bin", batch(&[0, 1, 1]));
        write(folder, "readme.html", "");
    }

    const TRAINING: [(&str, &str); 3] = [
        ("data_batch_1.bin/0", "car"),
        ("data_batch_1.bin/1", "frog"),
        ("data_batch_2.bin/0", "car"),
    ];

    #[test]
    fn training_batches_are_read_from_a_folder_and_from_the_archive() {
        let folder = tempfile::tempdir().unwrap();
        let path_of = |name: &str| folder.path().join(name);
        published(&path_of("cifar-10-batches-bin"));
        let mut tar = tar::Builder::new(Vec::new());
        let name = "cifar-10-batches-bin";
        tar.append_dir_all(name, path_of(name)).unwrap();
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(&tar.into_inner().unwrap()).unwrap();
        write(
            folder.path(),
            "cifar-10-binary.tar.gz",
            packed.finish().unwrap(),
        );
        for name in [name, "cifar-10-binary.tar.gz"] {
            let collection = crate::data::open(&path_of(name)).unwrap();
            assert_eq!(collection.sets, [[0], [1]]);
            assert_eq!(
                listed(&collection),
                TRAINING.map(|(name, class)| (name, vec![class]))
            );
            let picture = collection.items[1].decode().unwrap();
            assert_eq!(picture.get_pixel(3, 30).0, [0, 30, 3]);
            assert_eq!(
                collection.items[2].decode().unwrap().get_pixel(31, 0).0,
                [1, 0, 31]
            );
        }
    }

    #[test]
    fn a_test_batch_is_read_if_it_is_alone_or_named() {
        let folder = tempfile::tempdir().unwrap();
        published(folder.path());
        let test = folder.path().join("test_batch.bin");
        assert_eq!(crate::data::open(&test).unwrap().items.len(), 3);
        for name in ["data_batch_1.bin", "data_batch_2.bin"] {
            std::fs::remove_file(folder.path().join(name)).unwrap();
        }
        assert_eq!(crate::data::open(folder.path()).unwrap().items.len(), 3);
    }

    #[test]
    fn an_unusable_batch_is_refused_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        published(folder.path());
        write(folder.path(), "data_batch_2.bin", &batch(&[1])[1..]);
        let cut = refused(folder.path());
        assert!(cut.contains("data_batch_2.bin has 3072 bytes"), "{cut}");
        assert!(cut.contains("whole records of 3073 bytes"), "{cut}");
        write(folder.path(), "data_batch_2.bin", batch(&[1, 2]));
        let class = refused(folder.path());
        assert!(
            class.contains("record 1 of data_batch_2.bin has class 2"),
            "{class}"
        );
        assert!(class.contains("names 2 classes"), "{class}");
        write(folder.path(), "data_batch_2.bin", batch(&[1]));
        write(folder.path(), "batches.meta.txt", "frog\ncar\nship");
        let empty = refused(folder.path());
        assert!(empty.contains("class 'ship' has no image"), "{empty}");
        std::fs::remove_file(folder.path().join("batches.meta.txt")).unwrap();
        let names = refused(folder.path());
        assert!(names.contains("there must be batches.meta.txt"), "{names}");
    }
}
