//! A gallery written out for other programs and read back: what comes of it answers as before, and what is not whole is refused in words.
//! Knows the archive as tar and JSON, as whoever reads it without this program does.

mod forged;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read, Write},
    path::Path,
    process::{Command, Output, Stdio},
};

use crate::server::{self, TestServer, samples};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

fn command(name: &str, file: &str, data: &Path) -> Command {
    let mut program = server::scihcgrl();
    program.args([name, file, "--data-dir"]).arg(data);
    program
}

/// The last line on standard error, and whether it ended well.
fn said(output: &Output) -> (bool, String) {
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().last().unwrap_or_default();
    (output.status.success(), last.to_owned())
}

/// All that a service tells of its images, and what searches with them find.
async fn told(server: &TestServer) -> Vec<(Value, Vec<u8>, Value)> {
    let (_, page) = server.ask(Method::GET, "/images?limit=1000").await;
    let mut told = Vec::new();
    for image in page["images"].as_array().unwrap() {
        let content = image["content_url"].as_str().unwrap();
        let content = server.client.get(server.at(content));
        let content = content.send().await.unwrap().bytes().await.unwrap();
        let search = server.at("/search?radius=6&limit=50");
        let search = server.client.post(search).body(content.clone());
        let found: Value = search.send().await.unwrap().json().await.unwrap();
        told.push((image.clone(), content.to_vec(), found["matches"].clone()));
    }
    told
}

/// A data folder with some images as people leave them: labelled, replaced, changed, deleted.
async fn gallery() -> (TempDir, Vec<(Value, Vec<u8>, Value)>) {
    let mut server = TestServer::start().await;
    for (number, file) in ["cat", "ship"].into_iter().flat_map(samples).enumerate() {
        let id = match number % 3 {
            0 => uuid::Uuid::from_u128(number as u128).to_string(),
            _ => format!("猫 b?~{number}"),
        };
        let payload = json!({ "number": number, "of": ["cat", null] });
        let form = reqwest::multipart::Form::new()
            .text("labels", format!("class {}", number % 2))
            .text("payload", payload.to_string())
            .part(
                "image",
                reqwest::multipart::Part::bytes(fs::read(file).unwrap()),
            );
        let id = id.replace('?', "%3F");
        let put = server.client.put(server.at(&format!("/images/{id}")));
        assert!(
            put.multipart(form)
                .send()
                .await
                .unwrap()
                .status()
                .is_success()
        );
    }
    let at = |number: usize| server.at(&format!("/images/%E7%8C%AB%20b%3F~{number}"));
    let png = fs::read(server::root().join("tests/fixtures/alpha.png")).unwrap();
    let client = &server.client;
    for request in [
        client.delete(at(4)),
        client.put(at(7)).body(png),
        client
            .patch(at(8))
            .json(&json!({ "labels": [], "payload": null })),
    ] {
        assert!(request.send().await.unwrap().status().is_success());
    }
    let told = told(&server).await;
    server.terminate();
    (server.kill(), told)
}

/// A file of an archive: its name and what is in it.
type Entry = (String, Vec<u8>);

/// What is in an archive, in its order.
fn entries(archive: &[u8]) -> Vec<Entry> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (name, bytes)
    });
    entries.collect()
}

fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    archive.into_inner().unwrap()
}

fn export(data: &Path) -> Vec<u8> {
    let output = command("export", "-", data).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

#[tokio::test]
async fn what_was_exported_answers_as_before() {
    let (folder, before) = gallery().await;
    let data = folder.path().join("data");
    let file = folder.path().join("gallery.tar");
    let text = file.to_str().unwrap();
    let first = command("export", text, &data).output().unwrap();
    let images = format!("{} images were exported, 0 things left out", before.len());
    assert_eq!(said(&first), (true, images));
    let again = said(&command("export", text, &data).output().unwrap());
    assert!(!again.0 && again.1.contains("File exists"), "{again:?}");

    // Whoever has no scihcgrl finds files and JSON.
    let files: BTreeMap<_, _> = entries(&fs::read(&file).unwrap()).into_iter().collect();
    let head: Value = serde_json::from_slice(&files["export.json"]).unwrap();
    assert_eq!(
        (&head["format"], &head["lengths"]),
        (&json!(1), &json!([24, 32, 48]))
    );
    let lines = String::from_utf8(files["images-000001.jsonl"].clone()).unwrap();
    for (line, (image, content, _)) in lines.lines().zip(&before) {
        let line: Value = serde_json::from_str(line).unwrap();
        for member in ["id", "codes", "labels", "payload", "created_at_ms"] {
            assert_eq!(line[member], image[member]);
        }
        assert_eq!(&files[line["original"].as_str().unwrap()], content);
    }
    assert_eq!(lines.lines().count(), before.len());

    let new = tempfile::tempdir().unwrap();
    server::model(new.path());
    let mut import = command("import", "-", &new.path().join("data"));
    import.stdin(File::open(&file).unwrap());
    let output = import.output().unwrap();
    let told_so = String::from_utf8_lossy(&output.stdout).into_owned();
    let expected = format!("{} images of model", before.len());
    assert!(
        output.status.success() && told_so.contains(&expected),
        "{output:?}"
    );
    assert!(told_so.contains("0 things damaged"), "{told_so}");
    let server = TestServer::start_in(new, &[]);
    assert_eq!(told(&server).await, before);
}

#[tokio::test]
async fn what_cannot_be_read_is_named_and_left_out() {
    let (folder, before) = gallery().await;
    let data = folder.path().join("data");
    let kept = server::originals(&data.join("originals"));
    fs::remove_file(kept.last().unwrap()).unwrap();
    let output = command("export", "-", &data).output().unwrap();
    assert!(!output.status.success());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("the original of image"), "{told}");
    assert!(told.contains("it is missing"), "{told}");
    assert!(told.contains("1 things left out"), "{told}");
    let new = folder.path().join("new");
    let file = folder.path().join("rest.tar");
    fs::write(&file, output.stdout).unwrap();
    let import = command("import", file.to_str().unwrap(), &new);
    let told = String::from_utf8({ import }.output().unwrap().stdout).unwrap();
    let expected = format!("{} images of model", before.len() - 1);
    assert!(told.contains(&expected), "{told}");
}

/// Imports an archive that must be refused, and tells with which words.
fn refused(archive: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut import = command("import", "-", &data);
    import.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = import.stdout(Stdio::null()).spawn().unwrap();
    // It may end before it has read all.
    let _ = child.stdin.take().unwrap().write_all(archive);
    let (well, words) = said(&child.wait_with_output().unwrap());
    assert!(!well, "{words}");
    // The service refuses a folder with this in it.
    assert!(!data.exists() || data.join("restoring").exists());
    words
}

#[tokio::test]
async fn an_export_that_is_not_whole_is_refused_in_words() {
    let (folder, _) = gallery().await;
    let whole = export(&folder.path().join("data"));
    let files = entries(&whole);
    let with = |change: &dyn Fn(&mut Vec<Entry>)| {
        let mut files = files.clone();
        change(&mut files);
        archive(&files)
    };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let replaced = |at: usize, from: &str, to: &str| {
        with(&|files| files[at].1 = text(&files[at].1).replacen(from, to, 1).into_bytes())
    };
    let last = files.len() - 1;
    for (bytes, words) in [
        (b"GIF89a".repeat(500), "the archive of the export"),
        (Vec::new(), "export.json of the export: it is missing"),
        (archive(&files[1..]), "begins with export.json"),
        (
            archive(&files[..last]),
            "end.json of the export: it is missing",
        ),
        (
            replaced(0, "\"format\": 1", "\"format\": 2"),
            "it is of format 2, and this program reads format 1",
        ),
        (replaced(1, "\"id\":\"", "\"id\":\"/"), "is not allowed"),
        (replaced(1, "\"24\"", "\"25\""), "images-000001.jsonl"),
        (with(&|files| files[2].1[30] ^= 1), "its SHA-256 is"),
        (
            with(&|files| drop(files.remove(5))),
            "no image's line names it",
        ),
        (with(&|files| files.swap(4, 5)), "no image's line names it"),
        (
            with(&|files| files.insert(last, files[2].clone())),
            "no image's line names it",
        ),
    ] {
        let told = refused(&bytes);
        assert!(told.contains(words), "{words}: {told}");
    }
    // Cut off anywhere, and not a byte of its contents changed unnoticed.
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let end = whole.len() - 2048;
    for _ in 0..12 {
        let at = random.random_range(1..end);
        refused(&whole[..at]);
    }
    let full = command(
        "import",
        folder.path().join("nothing").to_str().unwrap(),
        folder.path(),
    );
    let (well, words) = said(&{ full }.output().unwrap());
    assert!(!well && words.contains("is not restored"), "{words}");
    let file = folder.path().join("whole.tar");
    fs::write(&file, &whole).unwrap();
    let data = folder.path().join("data");
    let full = command("import", file.to_str().unwrap(), &data)
        .output()
        .unwrap();
    let (well, words) = said(&full);
    assert!(!well && words.contains("is not empty"), "{words}");
}
