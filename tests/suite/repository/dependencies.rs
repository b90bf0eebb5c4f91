//! The origins and licences of dependencies: only crates of crates.io under licences that deny.toml
//! allows, and Python packages pinned by hash. Works offline; `make deny` also checks
//! vulnerabilities.

use std::{fs, process::Command};

use serde_json::Value;

use crate::server;

/// Returns the licences that deny.toml allows.
fn licences() -> Vec<String> {
    let rules = fs::read_to_string(server::root().join("deny.toml")).unwrap();
    let rules: toml::Table = toml::from_str(&rules).unwrap();
    let allowed = rules["licenses"]["allow"].as_array().unwrap();
    allowed
        .iter()
        .map(|licence| licence.as_str().unwrap().to_owned())
        .collect()
}

/// Returns this platform. Only its crates have been downloaded.
fn host() -> String {
    let version = Command::new("rustc").arg("-vV").output().unwrap().stdout;
    let version = String::from_utf8(version).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.unwrap().to_owned()
}

/// Returns true if these licences satisfy an SPDX expression. Exceptions are not supported. AND
/// binds closer than OR.
fn allowed(licences: &[String], expression: &str) -> bool {
    let plain = expression.replace(['(', ')'], " ").replace('/', " OR ");
    let met = |term: &str| licences.iter().any(|licence| licence == term.trim());
    let any_of = |terms: &str| terms.split(" OR ").any(met);
    if expression.contains('(') {
        plain.split(" AND ").all(any_of)
    } else {
        let all_of = |terms: &str| terms.split(" AND ").all(met);
        plain.split(" OR ").any(all_of)
    }
}

#[test]
fn dependencies_come_from_crates_io_under_allowed_licences() {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", &host()])
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&metadata.stderr);
    assert!(metadata.status.success(), "{stderr}");
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let (licences, mut wrong) = (licences(), Vec::new());
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
        if !allowed(&licences, &text("license")) {
            wrong.push(format!("{} is under '{}'", text("name"), text("license")));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn licence_expressions_are_evaluated_correctly() {
    for (expression, expected) in [
        ("MIT OR GPL-3.0", true),
        ("MIT/Apache-2.0", true),
        ("(MIT OR GPL-3.0) AND Unicode-3.0", true),
        ("MIT AND GPL-3.0", false),
        ("GPL-3.0", false),
        ("", false),
    ] {
        assert_eq!(allowed(&licences(), expression), expected, "{expression}");
    }
}

/// Returns NAME==VERSION, with the name in lower case as PyPI compares it.
fn name_and_version(line: &str) -> Option<String> {
    let (name, version) = line.split_once("==")?;
    let version = version.split_whitespace().next()?;
    Some(format!("{}=={version}", name.to_lowercase()))
}

#[test]
fn every_required_python_package_is_pinned_by_hash() {
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
