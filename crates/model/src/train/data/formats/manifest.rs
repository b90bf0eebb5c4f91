//! Manifests: CSV files or JSON lines that name images, each with any number of labels. Paths are
//! relative to the manifest's folder. No image is opened.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::train::{
    data::{
        collection::{Collection, Content, ListedImage, collect, invalid},
        source::Source,
    },
    error::TrainError,
};

/// A line's number and its entry.
type Line = (u64, Entry);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    path: PathBuf,
    #[serde(default)]
    labels: Vec<String>,
    #[serde(default)]
    label: Option<String>,
}

/// Reads a CSV file with the columns `path` and `labels`, in either order. Labels are separated by
/// `;` or `|`.
pub(crate) fn csv(path: &Path) -> Result<Collection, TrainError> {
    let malformed = |error: csv::Error| invalid(path, error.to_string());
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_path(path)
        .map_err(malformed)?;
    let header = reader.headers().map_err(malformed)?.clone();
    let column = |name: &str| header.iter().position(|column| column == name);
    let (Some(file), Some(labels), 2) = (column("path"), column("labels"), header.len()) else {
        let found: Vec<&str> = header.iter().collect();
        return Err(invalid(
            path,
            format!(
                "its first line has the columns '{}'; they must be 'path' and 'labels'",
                found.join("', '")
            ),
        ));
    };
    let lines = reader.records().map(|record| {
        let record = record.map_err(malformed)?;
        let entry = Entry {
            path: record[file].into(),
            labels: record[labels]
                .split([';', '|'])
                .map(str::to_owned)
                .collect(),
            label: None,
        };
        Ok((record.position().map_or(0, csv::Position::line), entry))
    });
    listed(path, lines, true)
}

/// Reads one object per line, with `path`, and `labels` or `label`. If labels are `required`, an
/// image without labels is an error.
pub(crate) fn jsonl(path: &Path, required: bool) -> Result<Collection, TrainError> {
    let text = fs::read_to_string(path).map_err(|error| invalid(path, error.to_string()))?;
    // Windows programs start a file with a byte order mark, which JSON does not allow.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let lines = text
        .lines()
        .zip(1..)
        .filter(|(line, _)| !line.trim().is_empty());
    let lines = lines.map(|(line, number)| {
        let entry = serde_json::from_str(line).map_err(|error| {
            let reason = format!(
                "line {number}: {error}; it must be {{\"path\": \"a.jpg\", \"labels\": [\"sky\", \"sea\"]}}, or have one \"label\""
            );
            invalid(path, reason)
        })?;
        Ok((number, entry))
    });
    listed(path, lines, required)
}

fn listed(
    path: &Path,
    lines: impl Iterator<Item = Result<Line, TrainError>>,
    required: bool,
) -> Result<Collection, TrainError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut found = Vec::new();
    for line in lines {
        let (number, entry) = line?;
        let labels = entry.labels.into_iter().chain(entry.label);
        let labels: Vec<String> = labels
            .map(|label| label.trim().to_owned())
            .filter(|label| !label.is_empty())
            .collect();
        let name = entry.path.display().to_string();
        if required && labels.is_empty() {
            let reason = format!("line {number}: {name} has no label; it needs at least one");
            return Err(invalid(path, reason));
        }
        let file = folder.join(&entry.path);
        if !file.is_file() {
            return Err(invalid(
                path,
                format!(
                    "line {number}: there is no file {name}; paths are relative to the manifest's own folder"
                ),
            ));
        }
        found.push(ListedImage {
            name,
            labels,
            source: Source::File(file),
            content: Content::Encoded,
        });
    }
    collect(path, &[], found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::data::{
        self,
        samples::{listed, png, refused, write},
    };

    fn images(folder: &Path) {
        for name in ["a.png", "b/b.png", "c.png"] {
            write(folder, name, png(4, 4, [0; 3]));
        }
    }

    #[test]
    fn an_image_can_have_several_labels() {
        let folder = tempfile::tempdir().unwrap();
        images(folder.path());
        let rows = "labels, path\nsea; sky,a.png\nsky,b/b.png\nsky|sea|sky,c.png\n";
        write(folder.path(), "m.csv", rows);
        let lines = concat!(
            r#"{"path": "a.png", "labels": ["sea", "sky"]}"#,
            "\n\n",
            r#"{"path": "b/b.png", "label": "sky"}"#,
            "\n",
            r#"{"path": "c.png", "labels": ["sky"], "label": "sea"}"#
        );
        write(folder.path(), "m.jsonl", lines);
        for name in ["m.csv", "m.jsonl"] {
            let collection = data::open(&folder.path().join(name)).unwrap();
            assert_eq!(collection.sets, [vec![0, 1], vec![1]]);
            let both = vec!["sea", "sky"];
            let expected = [
                ("a.png", both.clone()),
                ("b/b.png", vec!["sky"]),
                ("c.png", both),
            ];
            assert_eq!(listed(&collection), expected);
            assert!(collection.items.iter().all(|item| item.decode().is_ok()));
        }
    }

    #[test]
    fn a_byte_order_mark_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        images(folder.path());
        let lines =
            "{\"path\": \"a.png\", \"label\": \"x\"}\n{\"path\": \"c.png\", \"label\": \"y\"}";
        write(folder.path(), "m.jsonl", format!("\u{feff}{lines}"));
        write(
            folder.path(),
            "m.csv",
            "\u{feff}path,labels\na.png,x\nc.png,y\n",
        );
        for name in ["m.jsonl", "m.csv"] {
            let collection = data::open(&folder.path().join(name)).unwrap();
            assert_eq!(collection.classes, ["x", "y"]);
        }
    }

    #[test]
    fn images_without_labels_have_a_set_without_classes() {
        let folder = tempfile::tempdir().unwrap();
        images(folder.path());
        let lines =
            "{\"path\": \"a.png\", \"labels\": []}\n{\"path\": \"c.png\", \"label\": \"sea\"}";
        write(folder.path(), "m.jsonl", lines);
        let collection = Collection::from_manifest(&folder.path().join("m.jsonl")).unwrap();
        let listed = listed(&collection);
        assert_eq!(listed, [("a.png", vec![]), ("c.png", vec!["sea"])]);
        assert!(refused(&folder.path().join("m.jsonl")).contains("line 1: a.png has no label"));
    }

    #[test]
    fn an_unusable_manifest_is_refused_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        images(folder.path());
        let json = r#"{"path": "a.png", "tags": ["sky"]}"#;
        for (name, text, words) in [
            (
                "m.csv",
                "file,labels\na.png,x\n",
                "columns 'file', 'labels'; they must be 'path' and 'labels'",
            ),
            (
                "m.csv",
                "path,labels,size\na.png,x,4\n",
                "columns 'path', 'labels', 'size'; they must be",
            ),
            (
                "m.csv",
                "path,labels\na.png,x\nd.png,y\n",
                "line 3: there is no file d.png; paths are relative to",
            ),
            (
                "m.csv",
                "path,labels\na.png, ; \n",
                "line 2: a.png has no label; it needs at least one",
            ),
            (
                "m.csv",
                "path,labels\na.png\n",
                "found record with 1 fields",
            ),
            (
                "m.csv",
                "path,labels\na.png,x\nc.png,x\n",
                "'x' is its only class",
            ),
            ("m.csv", "path,labels\n", "no class with images"),
            ("m.jsonl", json, "line 1: unknown field `tags`"),
            ("m.jsonl", "\n{", "line 2: EOF"),
            ("m.jsonl", "a.png", "or have one \"label\""),
        ] {
            write(folder.path(), name, text);
            let found = refused(&folder.path().join(name));
            assert!(found.contains(words), "{found}");
        }
    }
}
