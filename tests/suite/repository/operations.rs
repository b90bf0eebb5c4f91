//! docs/operations.md, the Docker files and the alerts name exactly the variables, metrics and
//! alerts that exist.

use std::{collections::BTreeSet, fs, process::Command};

use crate::server::{self, TestServer};
use clap::CommandFactory;
use scihcgrl::cli::Cli;

fn text(path: &str) -> String {
    fs::read_to_string(server::root().join(path)).unwrap()
}

/// Returns the words of a text that begin with `start`; words are letters, digits and underscores.
fn words(text: &str, start: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let words = words.filter(|word| word.starts_with(start) && word.len() > start.len());
    words.map(str::to_owned).collect()
}

#[test]
fn the_runbook_names_exactly_the_variables_of_the_service() {
    assert_eq!(words(&text("docs/operations.md"), "SCIHCGRL_"), known());
}

/// Returns the variables of the service's flags and of its keys.
fn known() -> BTreeSet<String> {
    let command = Cli::command();
    let serve = command.find_subcommand("serve").unwrap();
    let flags = serve.get_arguments().filter_map(clap::Arg::get_env);
    let mut known: BTreeSet<String> = flags
        .map(|name| name.to_str().unwrap().to_owned())
        .collect();
    // Keys have no flags, because every user of a machine can see flags.
    known.extend(["READ", "WRITE", "ADMIN"].map(|role| format!("SCIHCGRL_{role}_KEYS")));
    known
}

#[test]
fn the_docker_files_have_this_version_and_set_existing_variables() {
    let version = format!("ARG VERSION={}\n", env!("CARGO_PKG_VERSION"));
    let dockerfile = text("docker/Dockerfile");
    assert!(dockerfile.contains(&version), "{version}");
    // Other sources of the program. The build's context includes only what it names.
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
async fn the_runbook_names_exactly_the_existing_metrics_and_alerts() {
    let server = TestServer::start().await;
    // Some metrics exist only after the first measurement.
    server.ask(reqwest::Method::GET, "/info").await;
    let metrics = server
        .client
        .get(server.at("/metrics"))
        .send()
        .await
        .unwrap();
    let metrics = metrics.text().await.unwrap();
    let help = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "));
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

/// Checks the rules with Prometheus' own tool. Ignored by default, because many machines lack it:
/// `cargo test --test suite prometheus -- --ignored`.
#[test]
#[ignore = "needs promtool"]
fn prometheus_accepts_the_alerts() {
    let mut promtool = Command::new("promtool");
    let rules = server::root().join("docker/alerts.yaml");
    let output = promtool.args(["check", "rules"]).arg(rules).output();
    let output = output.expect("promtool is not installed");
    assert!(output.status.success(), "{output:?}");
}
