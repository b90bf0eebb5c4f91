//! Runs the program for tests: on a free port, with its own data folder and a small model of random
//! weights, whose codes mean nothing. A server stops when it is dropped; if the test failed, its
//! log is printed.

#![allow(clippy::unwrap_used)] // allow-unwrap: a test stops where it fails
#![allow(dead_code)] // each test uses its part

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader},
    panic::Location,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use reqwest::{Method, StatusCode};
use safetensors::SafeTensors;
use scihcgrl::{
    code::Length,
    model::{Card, Network, Thresholds, centers, checkpoint},
    options::{BackboneKind, Centers},
};
use serde_json::Value;
use tempfile::TempDir;

/// Maximum time that a test waits for anything. Machines that run the tests may be slow and shared,
/// and a job gets only the processor time that other tests leave.
pub const WAIT_LIMIT: Duration = Duration::from_mins(10);
/// The log of all servers of a folder.
const LOG: &str = "server.log";

/// A running server.
pub struct TestServer {
    /// Its address, `http://127.0.0.1:…`.
    pub url: String,
    pub client: reqwest::Client,
    /// Holds its model and data.
    pub folder: TempDir,
    process: Child,
}

/// Builds a client that waits no longer than a test does.
pub fn client() -> reqwest::ClientBuilder {
    scihcgrl::system::tls::install();
    reqwest::Client::builder().timeout(WAIT_LIMIT)
}

/// Returns such a client for tests without a runtime.
pub fn blocking_client() -> reqwest::blocking::Client {
    scihcgrl::system::tls::install();
    let builder = reqwest::blocking::Client::builder();
    builder.timeout(WAIT_LIMIT).build().unwrap()
}

/// The card of a small model with the classes a, b and c.
pub fn card() -> Card {
    card_of(["a", "b", "c"].map(str::to_owned).to_vec())
}

/// The bytes of a sketch of this model.
pub const SKETCH_BYTES: usize = 48;

/// Writes the model of the stores and exports in fixtures: `models/cifar10.safetensors` as it was
/// before it made sketches.
pub fn model_of_fixtures(folder: &Path) -> PathBuf {
    let bytes = fs::read(root().join("models/cifar10.safetensors")).unwrap();
    let card = fs::read_to_string(root().join("tests/fixtures/stores/card.json")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.tensors().into_iter();
    let tensors = tensors.filter(|(name, _)| !name.starts_with("sketch."));
    let metadata = [("scihcgrl".to_owned(), card)].into_iter().collect();
    let written = safetensors::serialize(tensors, &Some(metadata)).unwrap();
    let path = folder.join("model.safetensors");
    fs::write(&path, written).unwrap();
    path
}

/// The similarity at and above which this model takes images for copies. Sketches of random weights
/// are all alike, so it is near 1.
pub const COPY_THRESHOLD: f32 = 0.9999;

/// The card of a small model with these classes.
pub fn card_of(classes: Vec<String>) -> Card {
    let lengths = Length::ALL.to_vec();
    let centers: BTreeMap<_, _> = lengths
        .iter()
        .map(|&length| {
            (
                length,
                centers::make(Centers::Hadamard, length, classes.len(), 0).unwrap(),
            )
        })
        .collect();
    Card {
        backbone: BackboneKind::EfficientnetLite0,
        policy: scihcgrl::options::Policy {
            hidden: 32,
            cell: scihcgrl::options::Cell::Recurrent,
            passes: 1,
            history: scihcgrl::options::History::Zeros,
            classifier: None,
        },
        lengths,
        sketch: Some(SKETCH_BYTES),
        thresholds: Some(Thresholds {
            copy: COPY_THRESHOLD,
            kin: None,
        }),
        input_size: 64,
        resize: scihcgrl::image::Resize::default(),
        mean: [0.5; 3],
        deviation: [0.5; 3],
        classes,
        centers,
        training: serde_json::Value::Null,
        quality: serde_json::Value::Null,
    }
}

/// Returns the sample images of a class, sorted by name.
pub fn samples(class: &str) -> Vec<PathBuf> {
    let gallery = root().join("samples/gallery");
    let mut files: Vec<PathBuf> = fs::read_dir(gallery.join(class))
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    files
}

/// Returns the files of originals below a folder, sorted by name.
pub fn original_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(original_files(&path)),
            false if path.file_name().unwrap() != "scihcgrl" => found.push(path),
            false => {}
        }
    }
    found.sort();
    found
}

/// Returns `few` in `make test` and `many` in `make test-long`, which sets `TEST_LONG`.
pub fn times<N>(few: N, many: N) -> N {
    match std::env::var_os("TEST_LONG") {
        Some(_) => many,
        None => few,
    }
}

/// Polls until there is a result. Fails after `WAIT_LIMIT`, with the place of the call.
#[track_caller]
pub fn eventually<T>(
    awaited: &str,
    mut poll: impl AsyncFnMut() -> Option<T>,
) -> impl Future<Output = T> {
    let (began, caller) = (Instant::now(), Location::caller());
    async move {
        loop {
            if let Some(found) = poll().await {
                return found;
            }
            let waited = began.elapsed();
            assert!(
                waited < WAIT_LIMIT,
                "{caller}: waited {waited:.0?} in vain: {awaited}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The same for tests without a runtime.
#[track_caller]
pub fn eventually_blocking<T>(awaited: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime
        .unwrap()
        .block_on(eventually(awaited, async || poll()))
}

/// Writes a model of random weights, always the same, and returns its path.
pub fn model(folder: &Path) -> PathBuf {
    random(folder, "model.safetensors", 11)
}

/// Writes a model of the same weights with these thresholds.
pub fn model_with_thresholds(folder: &Path, thresholds: Option<Thresholds>) -> PathBuf {
    let card = Card {
        thresholds,
        ..card()
    };
    write(folder, "model.safetensors", 11, &card)
}

/// Writes a model whose sketches have this many bytes.
pub fn model_with_sketches(folder: &Path, bytes: usize) -> PathBuf {
    let card = Card {
        sketch: Some(bytes),
        ..card()
    };
    write(folder, "model.safetensors", 11, &card)
}

/// Writes a second model, of other random weights.
pub fn second_model(folder: &Path) -> PathBuf {
    random(folder, "another.safetensors", 12)
}

/// Writes a third model, of other random weights.
pub fn third_model(folder: &Path) -> PathBuf {
    random(folder, "third.safetensors", 13)
}

/// Writes a model with the maximum number of classes.
pub fn model_of_most_classes(folder: &Path) -> PathBuf {
    let classes = (0..centers::MAX_CLASSES).map(|class| format!("class-{class:04}"));
    write(folder, "model.safetensors", 14, &card_of(classes.collect()))
}

/// Writes a model without thresholds.
pub fn write_model_without_thresholds(to: &Path) {
    let folder = to.parent().unwrap();
    let name = to.file_name().unwrap().to_str().unwrap();
    let card = Card {
        thresholds: None,
        ..card()
    };
    write(folder, name, 11, &card);
}

fn random(folder: &Path, name: &str, seed: i64) -> PathBuf {
    write(folder, name, seed, &card())
}

/// Locks the generator of tch's random numbers. All threads share it, so hold the lock while a
/// network is created.
pub fn lock_generator() -> MutexGuard<'static, ()> {
    static GENERATOR: Mutex<()> = Mutex::new(());
    GENERATOR.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write(folder: &Path, name: &str, seed: i64, card: &Card) -> PathBuf {
    let _generator = lock_generator();
    tch::manual_seed(seed);
    let network = Network::new(card, tch::Device::Cpu).unwrap();
    if let Some(projection) = network.variables.variables().get("sketch.projection") {
        let random = projection.randn_like();
        tch::no_grad(|| projection.shallow_clone().copy_(&random));
    }
    let path = folder.join(name);
    checkpoint::save(&network, card, &path).unwrap();
    path
}

/// The project's folder. A test that was built elsewhere finds it by `CARGO_MANIFEST_DIR` at run
/// time.
pub fn root() -> PathBuf {
    let at_run_time = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    at_run_time.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into())
}

/// The program: cargo's, or the one that `SCIHCGRL_PROGRAM` names.
pub fn scihcgrl() -> Command {
    let program = std::env::var_os("SCIHCGRL_PROGRAM");
    Command::new(program.unwrap_or_else(|| env!("CARGO_BIN_EXE_scihcgrl").into()))
}

/// The device under test: `TEST_DEVICE`, or a CPU.
pub fn device() -> String {
    std::env::var("TEST_DEVICE").unwrap_or_else(|_| "cpu".to_owned())
}

/// Returns the command that serves a folder. It computes in one thread, because tests run in
/// parallel and threads of OpenMP spin while they wait: two on a busy machine take ten times as
/// long as one.
pub fn program(folder: &Path, model: &Path) -> Command {
    program_as("serve", folder, model)
}

/// The same with another subcommand that takes these arguments.
pub fn program_as(subcommand: &str, folder: &Path, model: &Path) -> Command {
    let mut command = scihcgrl();
    command
        .args([
            subcommand,
            "--addr",
            "127.0.0.1:0",
            "--device",
            &device(),
            "--threads",
            "1",
            "--job-threads",
            "1",
        ])
        .arg("--data-dir")
        .arg(folder.join("data"))
        .arg("--model")
        .arg(model);
    command
}

impl TestServer {
    /// Starts a server in a new folder with the default test model.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        model(folder.path());
        Self::start_in(folder, &[])
    }

    /// Starts a server in a folder that has a model, with more arguments.
    pub fn start_in(folder: TempDir, arguments: &[&str]) -> Self {
        Self::start_with(folder, |program| program.args(arguments))
    }

    /// Starts a server in a folder that has a model. `more` changes its command.
    pub fn start_with(folder: TempDir, more: impl FnOnce(&mut Command) -> &mut Command) -> Self {
        Self::start_as("serve", folder, more)
    }

    /// The same with another subcommand.
    pub fn start_as(
        subcommand: &str,
        folder: TempDir,
        more: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Self {
        let model = folder.path().join("model.safetensors");
        let mut command = program_as(subcommand, folder.path(), &model);
        more(&mut command);
        Self::start_command(folder, command)
    }

    /// Starts a server by this command and waits for its address.
    pub fn start_command(folder: TempDir, mut command: Command) -> Self {
        let log = folder.path().join(LOG);
        let log = File::options().create(true).append(true).open(log).unwrap();
        let mut process = command
            .stdout(Stdio::piped())
            .stderr(log.try_clone().unwrap())
            .spawn()
            .unwrap();
        let (sender, first_line) = mpsc::channel();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        thread::spawn(move || sender.send(stdout.lines().next()));
        // From here on a failure stops it and prints its log.
        let mut server = TestServer {
            url: String::new(),
            client: client().build().unwrap(),
            folder,
            process,
        };
        let line = first_line.recv_timeout(WAIT_LIMIT);
        let line = line
            .expect("the server printed nothing")
            .map(Result::unwrap);
        let url = line
            .as_deref()
            .and_then(|line| line.strip_prefix("listening on "));
        server.url = url.expect("the server did not start").to_owned();
        server
    }

    /// Returns the log of all servers of this folder.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join(LOG)).unwrap()
    }

    pub fn process(&self) -> &Child {
        &self.process
    }

    /// Returns the URL of a path.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Sends a request without a body; returns the status and the JSON, or null if the body is not
    /// JSON.
    pub async fn ask(&self, method: Method, path: &str) -> (StatusCode, Value) {
        let answer = self.client.request(method, self.at(path)).send().await;
        let answer = answer.unwrap();
        (answer.status(), answer.json().await.unwrap_or_default())
    }

    /// Waits until a job is in one of these states.
    pub async fn wait_for_state(&self, job: &Value, states: &[&str]) -> Value {
        let path = format!("/admin/jobs/{}", job.as_str().unwrap());
        eventually(&format!("job {job} {}", states.join(" or ")), async || {
            let (_, job) = self.ask(Method::GET, &path).await;
            let state = job["state"].as_str().unwrap_or_else(|| panic!("{job}"));
            states.contains(&state).then_some(job)
        })
        .await
    }

    /// Waits until a job has ended; takes its id.
    pub async fn wait_for_end(&self, job: &Value) -> Value {
        self.wait_for_state(job, &["succeeded", "failed", "cancelled"])
            .await
    }

    /// Stores this many samples of each class, under the ids CLASS-NUMBER.
    pub async fn store(&self, classes: &[&str], each: usize) {
        for class in classes {
            for (number, file) in samples(class).into_iter().take(each).enumerate() {
                let url = self.at(&format!("/images/{class}-{number}?label={class}"));
                let put = self.client.put(url).body(fs::read(file).unwrap());
                put.send().await.unwrap().error_for_status().unwrap();
            }
        }
    }

    /// Returns the value of a metric; `name` includes its labels.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let text = self.client.get(self.at("/metrics")).send().await.unwrap();
        let text = text.error_for_status().unwrap().text().await.unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map(|value| value.parse().unwrap())
    }

    /// Kills it without warning and returns its folder.
    pub fn kill(mut self) -> TempDir {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap())
    }

    /// Sends SIGTERM. Returns true if the server exited with success.
    pub fn terminate(&mut self) -> bool {
        let pid = self.process.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        self.process.wait().unwrap().success()
    }

    /// Starts a second server on the same folder, which must fail.
    pub fn start_second(&self) -> Output {
        program(
            self.folder.path(),
            &self.folder.path().join("model.safetensors"),
        )
        .output()
        .unwrap()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if thread::panicking() {
            let log = self.log();
            let last = log.char_indices().rev().nth(20_000).map_or(0, |(at, _)| at);
            eprintln!("the end of the log of {}:\n{}", self.url, &log[last..]);
        }
    }
}
