//! A real server for tests: the program itself on a free port, with a data folder of its own and a small model of random weights
//! (codes need not mean anything for what is tested through it). Stopped when dropped; if the test failed, its log is printed then.

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
    model::{Card, Network, Thresholds, backbone::BackboneKind, centers, checkpoint},
    options::Centers,
};
use serde_json::Value;
use tempfile::TempDir;

/// The longest that a test waits for anything that is to come about; what takes longer hangs. Machines that run the tests may be slow and
/// shared, and a job takes only what the tests beside it leave.
pub const PATIENCE: Duration = Duration::from_secs(600);
/// The file of a server's folder that has what all servers of that folder logged.
const LOG: &str = "server.log";

/// A running server.
pub struct TestServer {
    /// Its address, `http://127.0.0.1:…`.
    pub url: String,
    /// A client of it.
    pub client: reqwest::Client,
    /// Its model and data, kept while this lives.
    pub folder: TempDir,
    process: Child,
}

/// A client that waits no longer than a test does, to be built.
pub fn client() -> reqwest::ClientBuilder {
    scihcgrl::system::tls::install();
    reqwest::Client::builder().timeout(PATIENCE)
}

/// The same where nothing else is to be done meanwhile.
pub fn blocking_client() -> reqwest::blocking::Client {
    scihcgrl::system::tls::install();
    let builder = reqwest::blocking::Client::builder();
    builder.timeout(PATIENCE).build().unwrap()
}

/// A small model's card.
pub fn card() -> Card {
    card_of(["a", "b", "c"].map(str::to_owned).to_vec())
}

/// How many bytes a sketch of it has.
pub const SKETCH: usize = 48;

/// The model that the fixtures of stores and exports are of, in a folder: `models/cifar10.safetensors` as it was before it got a sketch.
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

/// From which similarity on its sketches are of copies: nearly that of a picture and itself, for random weights see much the same in all.
pub const COPY: f32 = 0.9999;

/// The same of other classes.
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
        sketch: Some(SKETCH),
        thresholds: Some(checkpoint::Thresholds {
            copy: COPY,
            kin: None,
        }),
        input_size: 64,
        resize: Default::default(),
        mean: [0.5; 3],
        deviation: [0.5; 3],
        classes,
        centers,
        training: serde_json::Value::Null,
        quality: serde_json::Value::Null,
    }
}

/// The sample images of a class, in the order of their names.
pub fn samples(class: &str) -> Vec<PathBuf> {
    let gallery = root().join("samples/gallery");
    let mut files: Vec<PathBuf> = fs::read_dir(gallery.join(class))
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    files
}

/// The files of originals below a folder, in the order of their names.
pub fn originals(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(originals(&path)),
            false if path.file_name().unwrap() != "scihcgrl" => found.push(path),
            false => {}
        }
    }
    found.sort();
    found
}

/// How often something is done: fewer times in `make test`, more where `TEST_LONG` is set, as `make test-long` does.
pub fn times<N>(few: N, many: N) -> N {
    match std::env::var_os("TEST_LONG") {
        Some(_) => many,
        None => few,
    }
}

/// Waits until something that is asked for again and again is there.
#[track_caller]
pub fn eventually<T>(
    what: &str,
    mut there: impl AsyncFnMut() -> Option<T>,
) -> impl Future<Output = T> {
    let (began, place) = (Instant::now(), Location::caller());
    async move {
        loop {
            if let Some(found) = there().await {
                return found;
            }
            let waited = began.elapsed();
            assert!(
                waited < PATIENCE,
                "{place}: after {waited:.0?} not yet: {what}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The same without a runtime.
#[track_caller]
pub fn eventually_blocking<T>(what: &str, mut there: impl FnMut() -> Option<T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime
        .unwrap()
        .block_on(eventually(what, async || there()))
}

/// Writes a model of random weights, the same every time, and returns its path.
pub fn model(folder: &Path) -> PathBuf {
    random(folder, "model.safetensors", 11)
}

/// The same weights, with another card's word on from which similarity on images are copies or kin.
pub fn model_that_relates(folder: &Path, thresholds: Option<Thresholds>) -> PathBuf {
    let card = Card {
        thresholds,
        ..card()
    };
    write(folder, "model.safetensors", 11, &card)
}

/// One whose sketches have so many bytes.
pub fn model_with_sketches(folder: &Path, bytes: usize) -> PathBuf {
    let card = Card {
        sketch: Some(bytes),
        ..card()
    };
    write(folder, "model.safetensors", 11, &card)
}

/// The same of another model.
pub fn another(folder: &Path) -> PathBuf {
    random(folder, "another.safetensors", 12)
}

/// And of one more.
pub fn third(folder: &Path) -> PathBuf {
    random(folder, "third.safetensors", 13)
}

/// One that knows as many classes as there can be.
pub fn full(folder: &Path) -> PathBuf {
    let classes = (0..centers::MOST).map(|class| format!("class-{class:04}"));
    write(folder, "model.safetensors", 14, &card_of(classes.collect()))
}

/// Writes one whose card does not say which images are copies.
pub fn without_thresholds(to: &Path) {
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

/// Held while a network is made: its first weights are drawn from a generator that all threads share, and tests run beside each other.
pub fn drawing() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write(folder: &Path, name: &str, seed: i64, card: &Card) -> PathBuf {
    let _one = drawing();
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

/// Where the project is: where it is run, for a test that was built elsewhere.
pub fn root() -> PathBuf {
    let run = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    run.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into())
}

/// The program; another than cargo's where `SCIHCGRL_PROGRAM` says so.
pub fn scihcgrl() -> Command {
    let program = std::env::var_os("SCIHCGRL_PROGRAM");
    Command::new(program.unwrap_or_else(|| env!("CARGO_BIN_EXE_scihcgrl").into()))
}

/// The device that is tested: a CPU, or what `TEST_DEVICE` says.
pub fn device() -> String {
    std::env::var("TEST_DEVICE").unwrap_or_else(|_| "cpu".to_owned())
}

/// The program with the arguments that serve a folder. One thread computes, for tests run beside each other, and OpenMP's threads wait
/// for one another by spinning: two on a busy machine take ten times as long as one.
pub fn program(folder: &Path, model: &Path) -> Command {
    program_as("serve", folder, model)
}

/// The same as another subcommand that takes these arguments.
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
    /// Starts one in a folder of its own.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        model(folder.path());
        Self::start_in(folder, &[])
    }

    /// Starts one in a folder that has a model already, with more arguments.
    pub fn start_in(folder: TempDir, arguments: &[&str]) -> Self {
        Self::start_with(folder, |program| program.args(arguments))
    }

    /// Starts one in a folder that has a model already, set up as `more` does it.
    pub fn start_with(folder: TempDir, more: impl FnOnce(&mut Command) -> &mut Command) -> Self {
        Self::start_as("serve", folder, more)
    }

    /// The same as another subcommand.
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

    /// Starts one by a command of one's own.
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
        // From here on, whatever goes wrong stops it and prints its log.
        let mut server = TestServer {
            url: String::new(),
            client: client().build().unwrap(),
            folder,
            process,
        };
        let said = first_line.recv_timeout(PATIENCE);
        let said = said.expect("the server says nothing").map(Result::unwrap);
        let url = said
            .as_deref()
            .and_then(|line| line.strip_prefix("listening on "));
        server.url = url.expect("the server did not start").to_owned();
        server
    }

    /// What it and those of its folder before it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join(LOG)).unwrap()
    }

    /// Its process.
    pub fn process(&self) -> &Child {
        &self.process
    }

    /// A URL on it.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// What it answers to a request without a body; null where that is not JSON.
    pub async fn ask(&self, method: Method, path: &str) -> (StatusCode, Value) {
        let answer = self.client.request(method, self.at(path)).send().await;
        let answer = answer.unwrap();
        (answer.status(), answer.json().await.unwrap_or_default())
    }

    /// A job once it is in one of some states.
    pub async fn until(&self, job: &Value, states: &[&str]) -> Value {
        let path = format!("/admin/jobs/{}", job.as_str().unwrap());
        eventually(&format!("job {job} {}", states.join(" or ")), async || {
            let (_, job) = self.ask(Method::GET, &path).await;
            let state = job["state"].as_str().unwrap_or_else(|| panic!("{job}"));
            states.contains(&state).then_some(job)
        })
        .await
    }

    /// A job once it is over, by its id.
    pub async fn over(&self, job: &Value) -> Value {
        self.until(job, &["succeeded", "failed", "cancelled"]).await
    }

    /// Stores so many samples of each of some classes, as CLASS-NUMBER.
    pub async fn store(&self, classes: &[&str], each: usize) {
        for class in classes {
            for (number, file) in samples(class).into_iter().take(each).enumerate() {
                let at = self.at(&format!("/images/{class}-{number}?label={class}"));
                let put = self.client.put(at).body(fs::read(file).unwrap());
                put.send().await.unwrap().error_for_status().unwrap();
            }
        }
    }

    /// The value of a metric, by its name with labels.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let text = self.client.get(self.at("/metrics")).send().await.unwrap();
        let text = text.error_for_status().unwrap().text().await.unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map(|value| value.parse().unwrap())
    }

    /// Kills it without warning and gives back its folder.
    pub fn kill(mut self) -> TempDir {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap())
    }

    /// Asks it to stop and says whether it ended well.
    pub fn terminate(&mut self) -> bool {
        let pid = self.process.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        self.process.wait().unwrap().success()
    }

    /// Another start with the same folder, which must not succeed.
    pub fn start_beside(&self) -> Output {
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
            eprintln!("what {} logged last:\n{}", self.url, &log[last..]);
        }
    }
}
