//! What the build takes in: only crates of crates.io, only under licences that go with Apache-2.0. Works offline.
//! Known vulnerabilities need the RustSec database from the network: `cargo audit`.

use std::{fs, process::Command};

use serde_json::Value;

use crate::server;

const LICENCES: [&str; 9] = [
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Zlib",
];

/// Only this platform's crates have been downloaded.
fn host() -> String {
    let version = Command::new("rustc").arg("-vV").output().unwrap().stdout;
    let version = String::from_utf8(version).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.unwrap().to_owned()
}

/// Whether an SPDX expression can be met with the licences above. Without exceptions, and AND binds closer than OR as it should.
fn allowed(expression: &str) -> bool {
    let plain = expression.replace(['(', ')'], " ").replace('/', " OR ");
    let met = |term: &str| LICENCES.contains(&term.trim());
    let any_of = |terms: &str| terms.split(" OR ").any(met);
    if expression.contains('(') {
        plain.split(" AND ").all(any_of)
    } else {
        let all_of = |terms: &str| terms.split(" AND ").all(met);
        plain.split(" OR ").any(all_of)
    }
}

#[test]
fn dependencies_come_from_crates_io_under_fitting_licences() {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", &host()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&metadata.stderr);
    assert!(metadata.status.success(), "{said}");
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let text = |field: &str| package[field].as_str().unwrap_or_default().to_owned();
        let ours = metadata["workspace_members"]
            .as_array()
            .unwrap()
            .contains(&package["id"]);
        let source = text("source");
        if !ours && !source.starts_with("registry+https://github.com/rust-lang/crates.io-index") {
            wrong.push(format!("{} comes from '{source}'", text("name")));
        }
        if !allowed(&text("license")) {
            wrong.push(format!("{} is under '{}'", text("name"), text("license")));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn expressions_are_read_rightly() {
    for (expression, expected) in [
        ("MIT OR GPL-3.0", true),
        ("MIT/Apache-2.0", true),
        ("(MIT OR GPL-3.0) AND Unicode-3.0", true),
        ("MIT AND GPL-3.0", false),
        ("GPL-3.0", false),
        ("", false),
    ] {
        assert_eq!(allowed(expression), expected, "{expression}");
    }
}

/// A name as PyPI compares it.
fn name_and_version(line: &str) -> Option<String> {
    let (name, version) = line.split_once("==")?;
    let version = version.split_whitespace().next()?;
    Some(format!("{}=={version}", name.to_lowercase()))
}

#[test]
fn every_python_package_that_is_wanted_is_pinned_by_its_hashes() {
    let mut lists = 0;
    for entry in fs::read_dir(server::root().join("wheels")).unwrap() {
        let wanted = entry.unwrap().path();
        if wanted.extension().is_none_or(|extension| extension != "in") {
            continue;
        }
        lists += 1;
        let pinned = fs::read_to_string(wanted.with_extension("txt")).unwrap();
        let blocks: Vec<&str> = pinned.split("\n    # via").collect();
        for line in fs::read_to_string(&wanted).unwrap().lines() {
            let Some(package) = name_and_version(line) else {
                assert!(line.is_empty() || line.starts_with('#'), "{line}");
                continue;
            };
            let found = blocks.iter().any(|block| {
                block.contains("--hash=sha256:")
                    && block
                        .lines()
                        .filter_map(name_and_version)
                        .any(|pin| pin == package)
            });
            assert!(found, "{}: {line}; `make wheels` pins it", wanted.display());
        }
    }
    assert!(lists > 0);
}
