//! Checks the import graph of every crate (tests/layers.py), and the page's JavaScript with deno's
//! checker, linter and formatter.

use std::{path::Path, process::Command};

use crate::server;

fn passes(command: &mut Command) {
    let output = command.current_dir(server::root()).output().unwrap();
    let printed = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&printed)
    );
}

#[test]
fn imports_point_down_the_layers_and_form_no_circle() {
    passes(Command::new("python3").arg("tests/layers.py"));
}

#[test]
fn the_page_is_typed_linted_and_formatted() {
    let deno = server::root().join(".contract/bin/deno");
    let deno = |arguments: &[&str]| {
        passes(
            Command::new(&deno)
                .args(arguments)
                .env("DENO_NO_UPDATE_CHECK", "1")
                .env("NO_COLOR", "1"),
        );
    };
    assert!(Path::new(&server::root()).join("deno.json").exists());
    deno(&["check", "web/main.js"]);
    deno(&["lint", "--quiet", "web"]);
    deno(&["fmt", "--check", "web"]);
}
