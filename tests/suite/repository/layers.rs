//! Checks the import graph of every crate (tests/layers.py), the width of comments, and the page's
//! JavaScript with deno's checker, linter and formatter.

use std::{fs, path::Path, process::Command};

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
    deno(&["check", "web/main.js"]);
    deno(&["lint", "--quiet", "web"]);
    deno(&["fmt", "--check", "web"]);
}

/// Collects the lines of comments below a folder that are wider than code may be.
fn wide_comments(folder: &Path, wide: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            wide_comments(&path, wide);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let lines = text.lines().zip(1..).filter(|(line, _)| {
                line.trim_start().starts_with("//") && line.chars().count() > 100
            });
            wide.extend(lines.map(|(_, number)| format!("{}:{number}", path.display())));
        }
    }
}

#[test]
fn comments_wrap_at_100_columns() {
    let mut wide = Vec::new();
    for folder in ["benches", "crates", "examples", "paper", "src", "tests"] {
        wide_comments(&server::root().join(folder), &mut wide);
    }
    assert!(wide.is_empty(), "wider than 100 columns: {wide:#?}");
}
