//! Forged exports: content that no upload could create, and entries with false sizes, are refused
//! or made harmless.

use std::fs;

use super::{
    Entry, archive, command, entries, export, gallery, import_error,
    server::{self, TestServer},
};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Returns an export with one image's line and original changed, and its digest corrected.
fn forged(files: &[Entry], change: impl FnOnce(&mut Value, &mut Vec<u8>)) -> Vec<u8> {
    let mut files = files.to_vec();
    let lines = String::from_utf8(files[1].1.clone()).unwrap();
    let (line, rest) = lines.split_once('\n').unwrap();
    let mut line: Value = serde_json::from_str(line).unwrap();
    change(&mut line, &mut files[2].1);
    line["sha256"] = format!("{:x}", Sha256::digest(&files[2].1)).into();
    files[1].1 = format!("{line}\n{rest}").into_bytes();
    archive(&files)
}

#[tokio::test]
async fn content_that_no_upload_could_create_is_not_imported() {
    let (folder, _) = gallery().await;
    let files = entries(&export(&folder.path().join("data")));
    let deep = (0..101).fold(json!(1), |inner, _| json!([inner]));
    let page = b"<html><script>alert(1)</script>".to_vec();
    for (bytes, words) in [
        (
            forged(&files, |line, _| line["labels"] = json!(vec!["a"; 33])),
            "line 1 of images-000001.jsonl of the export: there are 33 labels",
        ),
        (
            forged(&files, |line, _| line["labels"] = json!(["x".repeat(256)])),
            "a label has 256 characters",
        ),
        (
            forged(&files, |line, _| {
                line["payload"] = json!("x".repeat(17_000));
            }),
            "the payload has 17002 bytes",
        ),
        (
            forged(&files, |line, _| line["payload"] = deep),
            "nested 101 deep",
        ),
        (
            forged(&files, |line, _| line["more"] = json!("x".repeat(300_000))),
            "lines of at most 262144 bytes",
        ),
        (
            forged(&files, |_, original| *original = page),
            "is not a supported image format",
        ),
    ] {
        let error = import_error(&bytes);
        assert!(error.contains(words), "{words}: {error}");
    }
    // The media type of a line is ignored.
    let lies = forged(&files, |line, _| {
        line["media_type"] = json!("text/html\r\nset-cookie: a=b");
    });
    let new = tempfile::tempdir().unwrap();
    server::model(new.path());
    let file = new.path().join("lies.tar");
    fs::write(&file, lies).unwrap();
    let output = command("import", file.to_str().unwrap(), &new.path().join("data")).output();
    assert!(output.unwrap().status.success());
    let server = TestServer::start_in(new, &[]);
    let (_, page) = server.ask(Method::GET, "/images?limit=1000").await;
    for image in page["images"].as_array().unwrap() {
        let url = server.at(image["content_url"].as_str().unwrap());
        let content = server.client.get(url).send().await.unwrap();
        let header = |name| content.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(image["media_type"], header("content-type"));
        assert!(header("content-type").starts_with("image/"));
        let policy = header("content-security-policy");
        assert_eq!(policy, "sandbox; default-src 'none'");
    }
}

/// Returns a tar entry that claims this many bytes and has none.
fn hollow(name: &str, kind: tar::EntryType, bytes: u64) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_path(name).unwrap();
    header.set_entry_type(kind);
    header.set_size(0);
    if let Some(gnu) = header.as_gnu_mut() {
        let octal = format!("{bytes:011o}");
        gnu.realsize[..11].copy_from_slice(octal.as_bytes());
        gnu.sparse[0].offset[..11].copy_from_slice(octal.as_bytes());
        gnu.sparse[0].numbytes[..11].copy_from_slice(b"00000000000");
    }
    header.set_cksum();
    header.as_bytes().to_vec()
}

#[test]
fn an_entry_that_claims_more_than_it_has_is_refused_at_once() {
    for (kind, words) in [
        (tar::EntryType::GNUSparse, "it is not a plain file"),
        (tar::EntryType::Symlink, "it is not a plain file"),
    ] {
        let error = import_error(&hollow("export.json", kind, 6 << 30));
        assert!(error.contains(words), "{error}");
    }
    let mut large = tar::Header::new_gnu();
    large.set_path("export.json").unwrap();
    large.set_size(2 << 30);
    large.set_cksum();
    let error = import_error(large.as_bytes());
    assert!(
        error.contains("it has 2147483648 bytes; at most 1073741824 are allowed"),
        "{error}"
    );
}
