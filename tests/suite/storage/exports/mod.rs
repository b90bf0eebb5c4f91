//! Exports a gallery and imports it again: the copy returns the same as the original, and damaged
//! archives are refused. The archive is read as plain tar and JSON.

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

/// Returns true if the command succeeded, and the last line of standard error.
fn outcome(output: &Output) -> (bool, String) {
    let outcome = String::from_utf8_lossy(&output.stderr);
    let last = outcome.lines().last().unwrap_or_default();
    (output.status.success(), last.to_owned())
}

/// Returns all images of a service with their originals and the results of searches with them.
async fn answers(server: &TestServer) -> Vec<(Value, Vec<u8>, Value)> {
    let (_, page) = server.ask(Method::GET, "/images?limit=1000").await;
    let mut answers = Vec::new();
    for image in page["images"].as_array().unwrap() {
        let content = image["content_url"].as_str().unwrap();
        let content = server.client.get(server.at(content));
        let content = content.send().await.unwrap().bytes().await.unwrap();
        let search = server.at("/search?radius=6&limit=50");
        let search = server.client.post(search).body(content.clone());
        let found: Value = search.send().await.unwrap().json().await.unwrap();
        answers.push((image.clone(), content.to_vec(), found["matches"].clone()));
    }
    answers
}

/// Makes a data folder with labelled, replaced, changed and deleted images. Returns it with the
/// service's responses.
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
    let url = |number: usize| server.at(&format!("/images/%E7%8C%AB%20b%3F~{number}"));
    let png = fs::read(server::root().join("tests/fixtures/alpha.png")).unwrap();
    let client = &server.client;
    for request in [
        client.delete(url(4)),
        client.put(url(7)).body(png),
        client
            .patch(url(8))
            .json(&json!({ "labels": [], "payload": null })),
    ] {
        assert!(request.send().await.unwrap().status().is_success());
    }
    let answers = answers(&server).await;
    server.terminate();
    (server.kill(), answers)
}

/// A file of an archive: its name and content.
type Entry = (String, Vec<u8>);

/// Returns the files of an archive in order.
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
async fn an_imported_export_answers_as_the_original_gallery() {
    let (folder, before) = gallery().await;
    let data = folder.path().join("data");
    let file = folder.path().join("gallery.tar");
    let text = file.to_str().unwrap();
    let first = command("export", text, &data).output().unwrap();
    let images = format!("{} images were exported, 0 things left out", before.len());
    assert_eq!(outcome(&first), (true, images));
    let again = outcome(&command("export", text, &data).output().unwrap());
    assert!(!again.0 && again.1.contains("File exists"), "{again:?}");

    // Other programs can read the files and the JSON.
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
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let expected = format!("{} images of model", before.len());
    assert!(
        output.status.success() && stdout.contains(&expected),
        "{output:?}"
    );
    assert!(stdout.contains("0 things damaged"), "{stdout}");
    let server = TestServer::start_in(new, &[]);
    assert_eq!(answers(&server).await, before);
}

#[tokio::test]
async fn unreadable_images_are_named_and_left_out() {
    let (folder, before) = gallery().await;
    let data = folder.path().join("data");
    let kept = server::original_files(&data.join("originals"));
    fs::remove_file(kept.last().unwrap()).unwrap();
    let output = command("export", "-", &data).output().unwrap();
    assert!(!output.status.success());
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("the original of image"), "{stderr}");
    assert!(stderr.contains("it is missing"), "{stderr}");
    assert!(stderr.contains("1 things left out"), "{stderr}");
    let new = folder.path().join("new");
    let file = folder.path().join("rest.tar");
    fs::write(&file, output.stdout).unwrap();
    let import = command("import", file.to_str().unwrap(), &new);
    let stdout = String::from_utf8({ import }.output().unwrap().stdout).unwrap();
    let expected = format!("{} images of model", before.len() - 1);
    assert!(stdout.contains(&expected), "{stdout}");
}

#[tokio::test]
async fn an_import_has_the_fields_of_the_export() {
    let (folder, _) = gallery().await;
    let server = TestServer::start_in(folder, &[]);
    for (path, kind) in [("number", "integer"), ("of", "keyword")] {
        let url = server.at(&format!("/admin/fields/{path}"));
        let declare = server.client.put(url).json(&json!({ "type": kind }));
        let field: Value = declare.send().await.unwrap().json().await.unwrap();
        server.wait_for_end(&field["job"]["id"]).await;
    }
    let passing = async |server: &TestServer, filter: &str| {
        let list = server.client.get(server.at("/images"));
        let list = list.query(&[("filter", filter)]);
        let page: Value = list.send().await.unwrap().json().await.unwrap();
        assert!(page["images"].is_array(), "{page}");
        page["images"].clone()
    };
    let filter = r#"number < 9 AND of = "cat" AND of IS NULL"#;
    let before = passing(&server, filter).await;
    let count = before.as_array().unwrap().len();
    assert!(count > 3, "{before}");
    let (_, fields) = server.ask(Method::GET, "/admin/fields").await;
    let mut server = server;
    server.terminate();
    let folder = server.kill();
    let data = folder.path().join("data");

    let file = folder.path().join("some.tar");
    let mut some = command("export", file.to_str().unwrap(), &data);
    let output = some.args(["--filter", filter]).output().unwrap();
    let images = format!("{count} images were exported, 0 things left out");
    assert_eq!(outcome(&output), (true, images));
    let undeclared = folder.path().join("none.tar");
    let mut none = command("export", undeclared.to_str().unwrap(), &data);
    let (well, words) = outcome(&none.args(["--filter", "price < 9"]).output().unwrap());
    assert!(!well && words.contains("price"), "{words}");
    assert!(!undeclared.exists());

    let all = folder.path().join("all.tar");
    fs::write(&all, export(&data)).unwrap();
    for (archive, is_whole) in [(all, true), (file, false)] {
        let new = tempfile::tempdir().unwrap();
        server::model(new.path());
        let import = command(
            "import",
            archive.to_str().unwrap(),
            &new.path().join("data"),
        );
        let output = { import }.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let server = TestServer::start_in(new, &[]);
        assert_eq!(passing(&server, filter).await, before);
        let (_, now) = server.ask(Method::GET, "/admin/fields").await;
        if is_whole {
            assert_eq!(now, fields);
        } else {
            assert_eq!(passing(&server, "id EXISTS").await, before);
        }
    }
}

/// Imports an archive that must be refused; returns the error.
fn import_error(archive: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut import = command("import", "-", &data);
    import.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = import.stdout(Stdio::null()).spawn().unwrap();
    // The command may end before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(archive);
    let (well, words) = outcome(&child.wait_with_output().unwrap());
    assert!(!well, "{words}");
    // The service refuses a folder that contains `restoring`.
    assert!(!data.exists() || data.join("restoring").exists());
    words
}

#[tokio::test]
async fn a_damaged_export_is_refused_with_a_reason() {
    let (folder, _) = gallery().await;
    let whole = export(&folder.path().join("data"));
    let files = entries(&whole);
    let changed = |change: &dyn Fn(&mut Vec<Entry>)| {
        let mut files = files.clone();
        change(&mut files);
        archive(&files)
    };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let replaced = |at: usize, from: &str, to: &str| {
        changed(&|files| files[at].1 = text(&files[at].1).replacen(from, to, 1).into_bytes())
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
            "it has format 2; this program reads format 1",
        ),
        (replaced(1, "\"id\":\"", "\"id\":\"/"), "is not allowed"),
        (replaced(1, "\"24\"", "\"25\""), "images-000001.jsonl"),
        (changed(&|files| files[2].1[30] ^= 1), "its SHA-256 is"),
        (changed(&|files| drop(files.remove(5))), "no line names it"),
        (changed(&|files| files.swap(4, 5)), "no line names it"),
        (
            changed(&|files| files.insert(last, files[2].clone())),
            "no line names it",
        ),
    ] {
        let error = import_error(&bytes);
        assert!(error.contains(words), "{words}: {error}");
    }
    // Truncated anywhere, it is refused.
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let end = whole.len() - 2048;
    for _ in 0..12 {
        let length = random.random_range(1..end);
        import_error(&whole[..length]);
    }
    let full = command(
        "import",
        folder.path().join("nothing").to_str().unwrap(),
        folder.path(),
    );
    let (well, words) = outcome(&{ full }.output().unwrap());
    assert!(!well && words.contains("cannot import"), "{words}");
    let file = folder.path().join("whole.tar");
    fs::write(&file, &whole).unwrap();
    let data = folder.path().join("data");
    let full = command("import", file.to_str().unwrap(), &data)
        .output()
        .unwrap();
    let (well, words) = outcome(&full);
    assert!(!well && words.contains("is not empty"), "{words}");
}
