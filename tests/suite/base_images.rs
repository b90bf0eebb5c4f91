//! docker/base.sh on a machine that lacks what it needs. Knows its messages; makes no image.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::server;

/// What every Debian has. debootstrap, pip and the toolchain are not among it.
const ESSENTIAL: [&str; 8] = ["bash", "cut", "dirname", "grep", "head", "id", "sed", "tr"];

fn found(tool: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let mut places = std::env::split_paths(&path).map(|folder| folder.join(tool));
    places.find(|place| place.is_file()).unwrap()
}

/// Runs it with the tools of a folder, and `docker` in place of the client.
fn base(tools: &Path, docker: &str) -> Output {
    let mut command = Command::new(found("bash"));
    command.arg(server::root().join("docker/base.sh"));
    command.env_clear().env("PATH", tools);
    command.env("DOCKER", found(docker)).output().unwrap()
}

#[test]
fn what_is_missing_is_named_before_anything_is_made() {
    let tools = tempfile::tempdir().unwrap();
    for tool in ESSENTIAL {
        symlink(found(tool), tools.path().join(tool)).unwrap();
    }
    // `true` has every image, `false` has none and answers nothing.
    let there = base(tools.path(), "true");
    assert!(there.status.success(), "{there:?}");
    assert!(there.stdout.is_empty() && there.stderr.is_empty());

    let missing = base(tools.path(), "false");
    assert_eq!(missing.status.code(), Some(1), "{missing:?}");
    assert!(missing.stdout.is_empty(), "{missing:?}");
    let said = String::from_utf8(missing.stderr).unwrap();
    for line in [
        "the engine of docker does not answer: start it, and see what docker info prints",
        "debootstrap is missing: apt-get install debootstrap",
        "pip is missing: apt-get install python3-pip",
        "rustc is missing: install the Rust toolchain that rust:",
    ] {
        let line = format!("docker/base.sh: {line}");
        assert!(said.lines().any(|told| told.starts_with(&line)), "{said}");
    }

    // With debootstrap in its place nothing is said of it.
    fs::copy(found("true"), tools.path().join("debootstrap")).unwrap();
    let said = String::from_utf8(base(tools.path(), "false").stderr).unwrap();
    assert!(!said.contains("debootstrap"), "{said}");
}
