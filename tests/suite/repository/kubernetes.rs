//! The manifests in k8s/: tests/kubernetes/check.py accepts them, and their arguments, variables,
//! routes and version are the program's.

use std::{collections::BTreeSet, fs, process::Command};

use crate::server::{self, TestServer};
use clap::CommandFactory;
use reqwest::Method;
use scihcgrl::cli::Cli;
use serde_json::Value;

/// Variables without a flag, because a process list would show the keys.
const KEYS: [&str; 3] = [
    "SCIHCGRL_READ_KEYS",
    "SCIHCGRL_WRITE_KEYS",
    "SCIHCGRL_ADMIN_KEYS",
];

fn checker(arguments: &[&str]) -> String {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let mut command = Command::new(python);
    command
        .env("PYTHONPATH", ".contract")
        .current_dir(server::root());
    command.arg("tests/kubernetes/check.py").args(arguments);
    let output = command.output().unwrap();
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(output.status.success(), "{stdout}{stderr}");
    stdout
}

fn facts() -> serde_json::Map<String, Value> {
    serde_json::from_str(&checker(&["--facts"])).unwrap()
}

#[test]
fn the_manifests_pass_the_checker_and_it_finds_planted_faults() {
    print!("{}{}", checker(&[]), checker(&["--self-test"]));
}

/// Returns the variables that a command and its subcommands read.
fn variables(command: &clap::Command) -> BTreeSet<String> {
    let own = command.get_arguments().filter_map(clap::Arg::get_env);
    let own = own.map(|name| name.to_str().unwrap().to_owned());
    let below = command.get_subcommands().flat_map(variables);
    own.chain(below).collect()
}

#[test]
fn manifests_use_arguments_and_variables_of_the_program() {
    let mut known = variables(&Cli::command());
    known.extend(KEYS.map(str::to_owned));
    for (overlay, facts) in facts() {
        for (container, arguments) in facts["arguments"].as_object().unwrap() {
            let arguments = arguments.as_array().unwrap().iter();
            let arguments = arguments.map(|argument| argument.as_str().unwrap());
            let read =
                Cli::command().try_get_matches_from(["scihcgrl"].into_iter().chain(arguments));
            assert!(
                read.is_ok(),
                "{overlay}, {container}: {}",
                read.err().unwrap()
            );
        }
        for (container, variables) in facts["environment"].as_object().unwrap() {
            for name in variables.as_object().unwrap().keys() {
                assert!(known.contains(name), "{overlay}, {container}: {name}");
            }
        }
        let version = format!("scihcgrl:{}-", env!("CARGO_PKG_VERSION"));
        for image in facts["images"].as_array().unwrap() {
            assert!(
                image.as_str().unwrap().starts_with(&version),
                "{overlay}: {image}"
            );
        }
    }
}

#[tokio::test]
async fn probes_need_no_key_and_metrics_need_one() {
    let folder = tempfile::tempdir().unwrap();
    server::model(folder.path());
    let (file, key) = (folder.path().join("keys.toml"), "a-key-to-read-with");
    fs::write(&file, format!("read = ['{key}']")).unwrap();
    let server = TestServer::start_in(folder, &["--keys-file", file.to_str().unwrap()]);
    for (_, facts) in facts() {
        for path in facts["probes"].as_object().unwrap().values() {
            // kubelet has no key.
            let (status, _) = server.ask(Method::GET, path.as_str().unwrap()).await;
            assert_eq!(status, 200, "{path}");
        }
        for path in facts["metrics"].as_array().unwrap() {
            let path = path.as_str().unwrap();
            assert_eq!(server.ask(Method::GET, path).await.0, 401);
            let read = server.client.get(server.at(path)).bearer_auth(key);
            assert_eq!(read.send().await.unwrap().status(), 200);
        }
    }
    let health = |key: &str| {
        let mut health = server::scihcgrl();
        health
            .arg("health")
            .env("SCIHCGRL_URL", &server.url)
            .env("SCIHCGRL_KEY", key);
        health.output().unwrap().status.success()
    };
    assert!(health(""));
    let url = server.url.clone();
    drop(server);
    let output = server::scihcgrl().args(["health", "--url", &url]).output();
    assert!(!output.unwrap().status.success());
}
