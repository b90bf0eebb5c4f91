//! docker/base.sh on a machine that lacks the tools it needs. No image is built.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::server;

/// The tools of every Debian. debootstrap, pip and the Rust toolchain are not among them.
const ESSENTIAL: [&str; 8] = ["bash", "cut", "dirname", "grep", "head", "id", "sed", "tr"];

fn find_tool(tool: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let mut places = std::env::split_paths(&path).map(|folder| folder.join(tool));
    places.find(|place| place.is_file()).unwrap()
}

/// Runs docker/base.sh with the tools of a folder and `docker` as the client.
fn base(tools: &Path, docker: &str) -> Output {
    let mut command = Command::new(find_tool("bash"));
    command.arg(server::root().join("docker/base.sh"));
    command.env_clear().env("PATH", tools);
    command.env("DOCKER", find_tool(docker)).output().unwrap()
}

#[test]
fn missing_tools_are_named_before_anything_is_built() {
    let tools = tempfile::tempdir().unwrap();
    for tool in ESSENTIAL {
        symlink(find_tool(tool), tools.path().join(tool)).unwrap();
    }
    // As the client, `true` has every image; `false` has none and fails.
    let there = base(tools.path(), "true");
    assert!(there.status.success(), "{there:?}");
    assert!(there.stdout.is_empty() && there.stderr.is_empty());

    let missing = base(tools.path(), "false");
    assert_eq!(missing.status.code(), Some(1), "{missing:?}");
    assert!(missing.stdout.is_empty(), "{missing:?}");
    let stderr = String::from_utf8(missing.stderr).unwrap();
    for line in [
        "the docker engine does not answer: start it, and check docker info",
        "debootstrap is missing: apt-get install debootstrap",
        "pip is missing: apt-get install python3-pip",
        "rustc is missing: install the Rust toolchain that rust:",
    ] {
        let line = format!("docker/base.sh: {line}");
        assert!(
            stderr
                .lines()
                .any(|line_of_stderr| line_of_stderr.starts_with(&line)),
            "{stderr}"
        );
    }

    // A tool that is present is not named.
    fs::copy(find_tool("true"), tools.path().join("debootstrap")).unwrap();
    let stderr = String::from_utf8(base(tools.path(), "false").stderr).unwrap();
    assert!(!stderr.contains("debootstrap"), "{stderr}");
}
