//! Runs tests/outsiders.sh: requests with which outsiders once broke the service.

use std::process::Command;

use crate::server::{self, TestServer};

#[test]
fn the_requests_of_outsiders_are_answered_correctly() {
    let folder = tempfile::tempdir().unwrap();
    let model = server::root().join("models/photos.safetensors");
    std::fs::copy(model, folder.path().join("model.safetensors")).unwrap();
    let server = TestServer::start_in(folder, &["--cors-origin", "https://app.example"]);
    let output = Command::new(server::root().join("tests/outsiders.sh"))
        .arg(&server.url)
        .arg(server::scihcgrl().get_program())
        .output()
        .unwrap();
    let [stdout, stderr] =
        [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    print!("{stdout}");
    assert!(output.status.success(), "{stdout}{stderr}");
}
