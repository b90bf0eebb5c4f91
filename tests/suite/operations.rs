//! docs/operations.md and the alerts speak of what there is: every variable of the service, every metric it has, every alert, and no others.
//! Knows names; whether what the text says is wise, people have to read.

use std::{collections::BTreeSet, fs, process::Command};

use crate::server::{self, TestServer};
use clap::CommandFactory;
use scihcgrl::cli::Cli;

fn text(path: &str) -> String {
    fs::read_to_string(server::root().join(path)).unwrap()
}

/// The words of a text that begin in a way, made of letters, digits and underscores.
fn words(text: &str, start: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let words = words.filter(|word| word.starts_with(start) && word.len() > start.len());
    words.map(str::to_owned).collect()
}

#[test]
fn every_variable_of_the_service_is_named_and_no_other() {
    assert_eq!(words(&text("docs/operations.md"), "SCIHCGRL_"), known());
}

/// The variables of the service's flags, and its keys.
fn known() -> BTreeSet<String> {
    let command = Cli::command();
    let serve = command.find_subcommand("serve").unwrap();
    let flags = serve.get_arguments().filter_map(clap::Arg::get_env);
    let mut known: BTreeSet<String> = flags
        .map(|name| name.to_str().unwrap().to_owned())
        .collect();
    // No flags, since flags are seen by every user of a machine.
    known.extend(["READ", "WRITE", "ADMIN"].map(|role| format!("SCIHCGRL_{role}_KEYS")));
    known
}

#[test]
fn the_images_are_of_this_version_and_set_what_there_is() {
    let version = format!("ARG VERSION={}\n", env!("CARGO_PKG_VERSION"));
    let dockerfile = text("docker/Dockerfile");
    assert!(dockerfile.contains(&version), "{version}");
    // What the program is made of besides, which the build's context leaves out unless it is named.
    let context = text("docker/Dockerfile.dockerignore");
    for part in ["migrations", "openapi.yaml", "src", "web"] {
        assert!(
            context.lines().any(|line| line == format!("!{part}")),
            "{part}"
        );
    }
    let own = [
        "IMAGE",
        "GPU_IMAGE",
        "PUBLISH",
        "MEM_LIMIT",
        "READ_KEY_FILE",
    ];
    let mut known = known();
    known.extend(own.map(|name| format!("SCIHCGRL_{name}")));
    for file in ["docker/Dockerfile", "docker/compose.yaml"] {
        for name in words(&text(file), "SCIHCGRL_") {
            assert!(known.contains(&name), "{file}: {name}");
        }
    }
}

#[tokio::test]
async fn every_metric_and_every_alert_is_named_and_no_other() {
    let server = TestServer::start().await;
    // Some are there once they have been measured.
    server.ask(reqwest::Method::GET, "/info").await;
    let told = server
        .client
        .get(server.at("/metrics"))
        .send()
        .await
        .unwrap();
    let told = told.text().await.unwrap();
    let help = told.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let known: BTreeSet<String> = help
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .filter(|name| name.starts_with("scihcgrl_"))
        .collect();
    let runbook = text("docs/operations.md");
    assert_eq!(words(&runbook, "scihcgrl_"), known);
    let alerts = text("docker/alerts.yaml");
    for used in words(&alerts, "scihcgrl_") {
        let name = used.strip_suffix("_bucket").unwrap_or(&used);
        assert!(known.contains(name), "{used}");
    }
    assert_eq!(words(&alerts, "Scihcgrl"), words(&runbook, "Scihcgrl"));
}

/// Prometheus' own tool reads the rules. Not by itself, for many a machine lacks it: `cargo test --test suite prometheus -- --ignored`.
#[test]
#[ignore = "needs promtool"]
fn prometheus_takes_the_alerts() {
    let mut promtool = Command::new("promtool");
    let rules = server::root().join("docker/alerts.yaml");
    let output = promtool.args(["check", "rules"]).arg(rules).output();
    let output = output.expect("promtool is not installed");
    assert!(output.status.success(), "{output:?}");
}
