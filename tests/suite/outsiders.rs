//! What outsiders once broke, asked again as they did: tests/outsiders.sh has their questions, and what ought to be answered.
//! Knows how to start a service for it.

use std::process::Command;

use crate::server::{self, TestServer};

#[test]
fn what_outsiders_broke_is_mended() {
    let folder = tempfile::tempdir().unwrap();
    let model = server::root().join("models/photos.safetensors");
    std::fs::copy(model, folder.path().join("model.safetensors")).unwrap();
    let server = TestServer::start_in(folder, &["--cors-origin", "https://app.example"]);
    let asked = Command::new(server::root().join("tests/outsiders.sh"))
        .arg(&server.url)
        .arg(server::scihcgrl().get_program())
        .output()
        .unwrap();
    let [said, complaint] =
        [&asked.stdout, &asked.stderr].map(|text| String::from_utf8_lossy(text));
    print!("{said}");
    assert!(asked.status.success(), "{said}{complaint}");
}
