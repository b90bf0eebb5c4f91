//! The page, used in a real browser as people use it: tests/page/check.py has what they do, and what has to be seen then.
//! Knows how to start it; nothing of browsers.

use std::process::Command;

use crate::server;

#[test]
fn people_find_teach_and_look_after_images_in_a_browser() {
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
    let [said, complaint] =
        [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    print!("{said}");
    assert!(output.status.success(), "{said}{complaint}");
}
