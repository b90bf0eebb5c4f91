//! NUS-WIDE as published: one list of images, one file per concept with a line of 0 or 1 per image,
//! and the images under `Flickr/`. The published split is not used: the paper draws its own
//! (`split`).

use std::{fs, path::Path};

use scihcgrl_model::train::{
    TrainError,
    data::{Collection, Content, ListedImage, collect, folder, invalid, source::Source},
};

/// The list of all images, in the order of the files of concepts.
pub(super) const LIST: &str = "ImageList/Imagelist.txt";
const CONCEPTS: &str = "Groundtruth/AllLabels";
const IMAGES: &str = "Flickr";
/// Number of classes: the most frequent concepts.
const FREQUENT: usize = 21;

/// Lists the images of the most frequent concepts; images of other concepts only are left out.
pub(super) fn open(path: &Path) -> Result<Collection, TrainError> {
    let read = |file: &Path| {
        fs::read_to_string(file)
            .map_err(|error| invalid(path, format!("{}: {error}", file.display())))
    };
    if !path.join(IMAGES).is_dir() {
        return Err(invalid(
            path,
            format!("there is no folder {IMAGES} with NUS-WIDE's images"),
        ));
    }
    let list = read(&path.join(LIST))?;
    // The list has Windows' path separators.
    let names: Vec<String> = list
        .lines()
        .map(|line| line.trim().replace('\\', "/"))
        .collect();
    let mut concepts = Vec::new();
    for (name, file) in folder::list(&path.join(CONCEPTS))? {
        let concept = name
            .strip_prefix("Labels_")
            .and_then(|name| name.strip_suffix(".txt"));
        if let Some(concept) = concept {
            let members = members(
                path,
                &format!("{CONCEPTS}/{name}"),
                &read(&file)?,
                names.len(),
            )?;
            concepts.push((concept.to_owned(), members));
        }
    }
    concepts.retain(|(_, members)| !members.is_empty());
    concepts.sort_by_key(|(_, members)| std::cmp::Reverse(members.len()));
    concepts.truncate(FREQUENT);
    let mut labels = vec![Vec::new(); names.len()];
    for (concept, members) in &concepts {
        for &member in members {
            labels[member].push(concept.clone());
        }
    }
    let labelled = names
        .into_iter()
        .zip(labels)
        .filter(|(_, labels)| !labels.is_empty());
    let found = labelled.map(|(name, labels)| ListedImage {
        source: Source::File(path.join(IMAGES).join(&name)),
        name,
        labels,
        content: Content::Encoded,
    });
    collect(path, &[], found.collect())
}

/// Returns the images of a concept.
fn members(path: &Path, name: &str, text: &str, images: usize) -> Result<Vec<usize>, TrainError> {
    let lines = text.lines().count();
    if lines != images {
        let reason = format!(
            "{name} has {lines} lines; {LIST} names {images} images, and there must be one for each"
        );
        return Err(invalid(path, reason));
    }
    let mut members = Vec::new();
    for (i, line) in text.lines().enumerate() {
        match line.trim() {
            "0" => {}
            "1" => members.push(i),
            other => {
                let reason = format!("line {} of {name} is '{other}'; it must be 0 or 1", i + 1);
                return Err(invalid(path, reason));
            }
        }
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::super::samples::{listed, png, refused, write};
    use super::*;
    use scihcgrl_model::train::data::split::Split;

    /// Thirty images of 23 concepts: image i, from 1, is of the concepts whose numbers divide i, so
    /// concept k has ⌊30/k⌋ images.
    fn published(folder: &Path) {
        let mut list = String::new();
        for i in 1..=30u8 {
            write(
                folder,
                &format!("Flickr/actor/{i:04}_7.jpg"),
                png(4, 4, [i; 3]),
            );
            list += &format!("actor\\{i:04}_7.jpg\r\n");
        }
        write(folder, LIST, list);
        for k in 2..=24 {
            let lines: String = (1..=30)
                .map(|i| if i % k == 0 { "1\n" } else { "0\n" })
                .collect();
            write(folder, &format!("{CONCEPTS}/Labels_c{k:02}.txt"), lines);
        }
        write(folder, "ImageList/TrainImagelist.txt", "");
        write(folder, "ImageList/TestImagelist.txt", "");
    }

    #[test]
    fn the_most_frequent_concepts_are_classes() {
        let folder = tempfile::tempdir().unwrap();
        published(folder.path());
        let collection = crate::data::open(folder.path()).unwrap();
        // From c16 on each has one image, and names decide: c23 and c24 are too many.
        let classes: Vec<String> = (2..=22).map(|k| format!("c{k:02}")).collect();
        assert_eq!(collection.classes, classes);
        let listed = listed(&collection);
        assert_eq!(listed[0], ("actor/0002_7.jpg", vec!["c02"]));
        assert_eq!(listed[4], ("actor/0006_7.jpg", vec!["c02", "c03", "c06"]));
        // 1, 23 and 29 have no frequent concept.
        assert_eq!(listed.len(), 27);
        let last = collection.items.last().unwrap();
        assert_eq!(last.decode().unwrap().get_pixel(0, 0).0, [30; 3]);
        let split = Split::nus_wide(&collection, 0);
        assert!(split.unwrap_err().to_string().contains("2100 of 27 images"));
    }

    #[test]
    fn an_unusable_folder_is_refused_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        published(folder.path());
        write(
            folder.path(),
            "Groundtruth/AllLabels/Labels_sky.txt",
            "0\n1\n",
        );
        let lines = refused(folder.path());
        assert!(
            lines.contains("Labels_sky.txt has 2 lines; ImageList/Imagelist.txt names 30 images"),
            "{lines}"
        );
        write(
            folder.path(),
            "Groundtruth/AllLabels/Labels_sky.txt",
            "x\n".repeat(30),
        );
        let value = refused(folder.path());
        assert!(
            value.contains(
                "line 1 of Groundtruth/AllLabels/Labels_sky.txt is 'x'; it must be 0 or 1"
            ),
            "{value}"
        );
        fs::remove_dir_all(folder.path().join("Flickr")).unwrap();
        let images = refused(folder.path());
        assert!(images.contains("no folder Flickr"), "{images}");
        write(folder.path(), "Flickr/none", "");
        fs::remove_dir_all(folder.path().join("Groundtruth")).unwrap();
        let concepts = refused(folder.path());
        assert!(
            concepts.contains("Groundtruth/AllLabels is not a data set"),
            "{concepts}"
        );
    }
}
