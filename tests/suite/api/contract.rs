//! Checks the running service against openapi.yaml: schemathesis sends the requests that it allows
//! and forbids, two linters read it, and its routes are the router's.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::server::{self, TestServer};
use reqwest::Method;
use serde_json::{Value, json};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// The folder into which `make` fetches the tools.
const TOOLS: &str = ".contract";
/// The image that the contract's examples use.
const EXAMPLE: &str = "beach-0041";
const KEY: &str = "writes-and-reads-too";

/// Runs a command that must succeed; returns its standard output.
fn run(command: &mut Command) -> String {
    let fetched = Path::new(ROOT).join(TOOLS).join(".fetched");
    assert!(fetched.exists(), "the tools are missing: make contract");
    let output = command.current_dir(ROOT).output().unwrap();
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(output.status.success(), "{command:?}: {stdout}{stderr}");
    stdout
}

fn python() -> Command {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let mut command = Command::new(python);
    command.env("PYTHONPATH", TOOLS);
    command
}

/// Returns the methods of each path in the contract.
fn operations() -> BTreeMap<String, BTreeSet<String>> {
    let as_json =
        "import json, sys, yaml; json.dump(yaml.safe_load(open('openapi.yaml')), sys.stdout)";
    let contract: Value = serde_json::from_str(&run(python().args(["-c", as_json]))).unwrap();
    let methods = ["get", "put", "post", "delete", "patch", "head", "options"];
    let paths = contract["paths"].as_object().unwrap();
    let named = paths.iter().map(|(path, item)| {
        let there = methods.iter().filter(|method| item.get(method).is_some());
        (
            path.clone(),
            there.map(|method| method.to_uppercase()).collect(),
        )
    });
    named.collect()
}

#[tokio::test]
async fn the_service_answers_schemathesis_as_the_contract_says() {
    let folder = tempfile::tempdir().unwrap();
    server::model(folder.path());
    let keys = folder.path().join("keys.toml");
    fs::write(&keys, format!("admin = ['{KEY}']")).unwrap();
    let models = [
        server::second_model(folder.path()),
        server::third_model(folder.path()),
    ];
    let server = TestServer::start_in(folder, &["--keys-file", keys.to_str().unwrap()]);
    for (id, image) in [
        (EXAMPLE, "upright.jpg"),
        ("copy", "upright.jpg"),
        ("second", "grey.jpg"),
        ("third", "alpha.png"),
    ] {
        let image = fs::read(Path::new(ROOT).join("tests/fixtures").join(image)).unwrap();
        let put = server
            .client
            .put(server.at(&format!("/images/{id}?label=beach")));
        let answer = put.bearer_auth(KEY).body(image).send().await;
        answer.unwrap().error_for_status().unwrap();
    }

    let post = async |path: &str, body: reqwest::Body, kind: &str| {
        let post = server.client.post(server.at(path)).bearer_auth(KEY);
        let answer = post.header("content-type", kind).body(body).send().await;
        answer
            .unwrap()
            .error_for_status()
            .unwrap()
            .json::<Value>()
            .await
            .unwrap()
    };
    let mut stored = Vec::new();
    for model in &models {
        let file = fs::read(model).unwrap();
        stored.push(
            post("/admin/models", file.into(), "application/octet-stream").await["id"].clone(),
        );
    }
    let info = server
        .client
        .get(server.at("/info"))
        .bearer_auth(KEY)
        .send()
        .await
        .unwrap();
    let active = info.json::<Value>().await.unwrap()["model_id"].clone();
    let mut jobs = Vec::new();
    for _ in 0..2 {
        let body = json!({ "kind": "reencode", "model": active }).to_string();
        jobs.push(post("/admin/jobs", body.into(), "application/json").await["id"].clone());
    }
    let body = json!({ "kind": "find_duplicates" }).to_string();
    let found = post("/admin/jobs", body.into(), "application/json").await;
    let found = server.at(&format!("/admin/jobs/{}", found["id"].as_str().unwrap()));
    server::eventually("groups of copies are found", async || {
        let answer = server.client.get(&found).bearer_auth(KEY).send().await;
        let job: Value = answer.unwrap().json().await.unwrap();
        (job["state"] == "succeeded").then_some(())
    })
    .await;
    for (field, kind) in [("price", "number"), ("in_stock", "bool")] {
        let field = server.at(&format!("/admin/fields/{field}"));
        let declare = server.client.put(&field).bearer_auth(KEY);
        let answer = declare.json(&json!({ "type": kind })).send().await;
        answer.unwrap().error_for_status().unwrap();
        server::eventually("the field is built", async || {
            let answer = server.client.get(&field).bearer_auth(KEY).send().await;
            let field: Value = answer.unwrap().json().await.unwrap();
            (field["built"] == true).then_some(())
        })
        .await;
    }
    let mut snapshots = Vec::new();
    for _ in 0..2 {
        let made = post("/admin/snapshots", "".into(), "application/octet-stream").await;
        snapshots.push(made["id"].clone());
    }
    let named = json!({
        "GET /admin/models/{id}": active, "GET /admin/models/{id}/content": active,
        "POST /admin/models/{id}/activate": active, "DELETE /admin/models/{id}": stored[0],
        "DELETE /admin/models/{id}/codes": stored[1], "POST /admin/jobs": active,
        "GET /admin/jobs/{id}": jobs[0], "POST /admin/jobs/{id}/cancel": jobs[0],
        "GET /admin/jobs/{id}/events": jobs[0], "DELETE /admin/jobs/{id}": jobs[1],
        "GET /admin/fields/{path}": "price", "DELETE /admin/fields/{path}": "discarded",
        "GET /admin/snapshots/{id}": snapshots[0], "DELETE /admin/snapshots/{id}": snapshots[1],
    });

    let by_id = json!({ "id": EXAMPLE }).to_string();
    let encoded = post("/encode", by_id.into(), "application/json").await;
    let sketch = json!({ "sketch": encoded["sketch"], "model": encoded["model"] });

    let report = server.folder.path().join("report.json");
    let stdout = run(python()
        .env("CONTRACT_NAMED", named.to_string())
        .env("CONTRACT_MODEL", &models[1])
        .env("CONTRACT_SKETCH", sketch.to_string())
        .env("HYPOTHESIS_STORAGE_DIRECTORY", server.folder.path())
        .args(["-m", "schemathesis.cli", "--no-color"])
        .args(["--config-file", "tests/contract/schemathesis.toml"])
        .args(["run", "--checks", "all", "--url", &server.url])
        .args(["--max-examples", server::times("30", "300")])
        .args([
            "--header",
            &format!("Authorization: Bearer {KEY}"),
            "--report-json-path",
        ])
        .args([report.as_path(), Path::new("openapi.yaml")]));
    let report: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    let (tested, cases) = (&report["operations"]["tested"], &report["test_cases"]);
    println!(
        "{tested} operations, {} cases, {} failures, {} errors",
        cases["generated"], cases["unique_failures"], cases["errored"]
    );
    let there: usize = operations().values().map(BTreeSet::len).sum();
    assert_eq!(*tested, there, "{stdout}");
    assert_eq!(
        (&cases["unique_failures"], &report["errors"]),
        (&json!(0), &json!([])),
        "{stdout}"
    );
    assert!(cases["generated"].as_u64().unwrap() > 1000, "{stdout}");
    // A service that refuses everything would conform as well.
    for (operation, phases) in report["valid_rates"].as_object().unwrap() {
        let mut phases = phases.as_object().unwrap().values();
        assert!(
            phases.any(|phase| phase["accepted"] != 0),
            "{operation}: {stdout}"
        );
    }
}

#[test]
fn linters_find_nothing_in_the_contract() {
    let mut vacuum = Command::new(Path::new(TOOLS).join("vacuum/lib/vacuum"));
    vacuum
        .args(["lint", "--no-banner", "--no-style", "--details"])
        .args(["--fail-severity", "info", "--remote=false"])
        .args(["--ruleset", "tests/contract/vacuum.yaml", "openapi.yaml"]);
    println!("{}", run(&mut vacuum));
    let validator = [
        "openapi_spec_validator",
        "--validation-errors",
        "all",
        "openapi.yaml",
    ];
    print!("{}", run(python().arg("-m").args(validator)));
    let examples = ["tests/contract/examples.py", "openapi.yaml"];
    print!("{}", run(python().args(examples)));
}

/// Returns the sources of the HTTP layer without their tests.
fn sources(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else {
            let text = fs::read_to_string(path).unwrap();
            found.push(text.split("#[cfg(test)]").next().unwrap().to_owned());
        }
    }
    found
}

/// Returns the paths of all `.route("…", …)` in the sources.
fn routed_paths() -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for source in sources(&Path::new(ROOT).join("src/http")) {
        for other in [".nest(", ".nest_service(", ".route_service(", ".fallback("] {
            assert!(
                !source.contains(other),
                "{other} hides routes from this test"
            );
        }
        for call in source.split(".route(").skip(1) {
            let literal = call
                .trim_start()
                .strip_prefix('"')
                .and_then(|rest| rest.split_once('"'));
            let (path, _) =
                literal.expect("this test cannot see a route whose path is not a literal");
            paths.insert(path.to_owned());
        }
    }
    paths
}

/// Fills in the parameters of a path.
fn filled(path: &str) -> String {
    let parts = path.split('/').map(|part| match part {
        // A route of files serves existing ones.
        "{file}" if path.starts_with("/docs/") => "swagger-ui.css",
        "{file}" => "main.js",
        _ if part.starts_with('{') => "none",
        _ => part,
    });
    parts.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn contract_and_router_have_the_same_routes() {
    let server = TestServer::start().await;
    let contract = operations();
    let paths: BTreeSet<String> = contract.keys().cloned().collect();
    assert_eq!(paths, routed_paths());

    for (path, mut methods) in contract {
        let ask = |method: &str| {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            server
                .client
                .request(method, server.at(&filled(&path)))
                .send()
        };
        for method in &methods {
            let answer = ask(method).await.unwrap();
            let status = answer.status();
            let problem: Value = answer.json().await.unwrap_or_default();
            let unrouted = ["route_not_found", "method_not_allowed"].map(Value::from);
            assert!(
                !unrouted.contains(&problem["code"]),
                "{method} {path}: {status}"
            );
        }
        // The router lists a path's methods in its response to an unknown method.
        let answer = ask("NONE").await.unwrap();
        assert_eq!(answer.status(), 405, "{path}");
        let allowed = answer.headers()["allow"].to_str().unwrap().split(',');
        let allowed: BTreeSet<String> = allowed.map(|method| method.trim().to_owned()).collect();
        if methods.contains("GET") {
            methods.insert("HEAD".to_owned());
        }
        assert_eq!(allowed, methods, "{path}");
    }
}
