//! Runs tests/page/check.py: the page in a real browser, used as people use it.

use std::process::Command;

use crate::server;

#[test]
fn people_search_train_and_manage_images_in_a_browser() {
    let folder = tempfile::tempdir().unwrap();
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let mut check = Command::new(python);
    check
        .env(
            "MODEL_WITHOUT_SKETCHES",
            server::model_of_fixtures(folder.path()),
        )
        .env("PYTHONPATH", ".contract")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["tests/page/check.py", env!("CARGO_BIN_EXE_scihcgrl")]);
    let output = check.output();
    let output = output.unwrap_or_else(|error| panic!("{check:?}: {error}"));
    let [stdout, stderr] =
        [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    print!("{stdout}");
    assert!(output.status.success(), "{stdout}{stderr}");
}
