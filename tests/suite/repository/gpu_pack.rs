//! The folder that `make gpu-pack` packs, copied away from the project: its small form runs every
//! step on processors, and its results are valid whenever it is killed.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rand::Rng;
use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A new folder with what is copied to a machine with a GPU, as far as these tests need it.
fn elsewhere() -> tempfile::TempDir {
    let (root, elsewhere) = (Path::new(ROOT), tempfile::tempdir().unwrap());
    let pack = root.join("target/gpu-pack");
    assert!(
        pack.join("run.sh").exists(),
        "run `benches/gpu/pack.py --level 0 --to target/gpu-pack` first, as `make test` does"
    );
    fs::create_dir(elsewhere.path().join("models")).unwrap();
    let model = "models/cifar10.safetensors";
    fs::copy(root.join(model), elsewhere.path().join(model)).unwrap();
    for (from, to) in [(pack, ".gpu"), (root.join("samples"), "samples")] {
        let copied = Command::new("cp")
            .arg("-r")
            .arg(from)
            .arg(elsewhere.path().join(to))
            .status();
        assert!(copied.unwrap().success());
    }
    elsewhere
}

fn run(elsewhere: &Path, steps: &str) -> Command {
    let mut command = Command::new(elsewhere.join(".gpu/run.sh"));
    command
        .arg(elsewhere.join("out"))
        .env("DEVICE", "cpu")
        .env("MINUTES", "20")
        .env("STEPS", steps)
        .env("LIBTORCH", Path::new(ROOT).join(".libtorch/torch"));
    command
}

/// Returns the lines of results so far; each must be complete.
fn lines(elsewhere: &Path) -> Vec<Value> {
    let text = fs::read_to_string(elsewhere.join("out/results.jsonl")).unwrap_or_default();
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn words(output: &Output) -> String {
    [&output.stdout[..], &output.stderr[..]]
        .map(String::from_utf8_lossy)
        .concat()
}

#[test]
fn the_small_form_runs_every_step() {
    let elsewhere = elsewhere();
    let mut printed = String::new();
    // The second run adds to the results of the first.
    for steps in ["measure, serve, scenario", "train"] {
        let output = run(elsewhere.path(), steps).output().unwrap();
        printed += &words(&output);
        assert!(output.status.success(), "{printed}");
    }
    let lines = lines(elsewhere.path());
    let failed: Vec<_> = lines
        .iter()
        .filter(|line| line["failed"].is_string())
        .collect();
    assert!(failed.is_empty(), "{failed:?}\n{printed}");
    let count = |step: &str, member: &str| {
        let matches = |line: &&Value| line["step"] == step && !line[member].is_null();
        lines.iter().filter(matches).count()
    };
    assert!(
        count("measure", "bare") >= 2 && count("measure", "decoded_per_s_and_core") == 1,
        "{printed}"
    );
    // PyTorch may be incomplete here.
    assert!(
        count("measure", "peer") > 0 || count("measure", "skipped") == 1,
        "{printed}"
    );
    assert_eq!(count("serve", "served_per_s"), 1, "{printed}");
    assert_eq!(count("scenario", "learned_s"), 1, "{printed}");
    assert_eq!(count("train", "quality"), 4, "{printed}");
    let outputs: Vec<_> = fs::read_dir(elsewhere.path().join("out"))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert!(outputs.len() <= 8, "{outputs:?}");
    assert!(
        outputs
            .iter()
            .all(|file| file.metadata().unwrap().len() <= 16 << 20),
        "{outputs:?}"
    );
    let models = outputs.iter().filter(|file| {
        file.path()
            .extension()
            .is_some_and(|end| end == "safetensors")
    });
    assert_eq!(models.count(), 3);
    let report = fs::read_to_string(elsewhere.path().join("out/report.md")).unwrap();
    for part in [
        "## Encoding",
        "## Searches by photo",
        "## Searches next to a job",
        "## Training",
        "the samples of the project stand in",
    ] {
        assert!(report.contains(part), "{report}");
    }
}

#[test]
fn results_are_valid_whenever_it_is_killed() {
    let elsewhere = elsewhere();
    for _ in 0..3 {
        let _ = fs::remove_dir_all(elsewhere.path().join("out"));
        let mut running = run(elsewhere.path(), "measure")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while lines(elsewhere.path()).is_empty() {
            assert!(
                began.elapsed() < Duration::from_mins(1),
                "no results within a minute"
            );
            sleep(Duration::from_millis(20));
        }
        sleep(Duration::from_millis(rand::rng().random_range(0..4000)));
        running.kill().unwrap();
        running.wait().unwrap();
        assert!(!lines(elsewhere.path()).is_empty());
        let report = fs::read_to_string(elsewhere.path().join("out/report.md")).unwrap();
        assert!(report.starts_with("# Measured"), "{report}");
    }
}

#[test]
fn missing_files_and_wrong_variables_are_named() {
    let elsewhere = elsewhere();
    let nowhere = elsewhere.path().join("nowhere");
    for (variable, value, expected) in [
        ("DEVICE", "tpu".as_ref(), "it must be cuda or cpu"),
        ("MINUTES", "abc".as_ref(), "it must be a number above 0"),
        ("STEPS", "measure,dance".as_ref(), "STEPS names 'dance'"),
        (
            "PROJECT",
            nowhere.as_path(),
            "models/cifar10.safetensors, samples/gallery, samples/queries not found in",
        ),
        (
            "LIBTORCH",
            nowhere.as_path(),
            "lacks lib/libc10.so, lib/libtorch.so, lib/libtorch_cpu.so",
        ),
        ("PYTHON", nowhere.as_path(), "Command not found"),
    ] {
        let output = run(elsewhere.path(), "measure")
            .env(variable, value)
            .output();
        let (output, printed) = (output.as_ref().unwrap(), words(output.as_ref().unwrap()));
        assert!(
            !output.status.success() && printed.contains(expected),
            "{printed}"
        );
        assert!(!printed.contains("Traceback"), "{printed}");
    }
    fs::remove_dir_all(elsewhere.path().join("out")).unwrap();
    fs::write(elsewhere.path().join("out"), "").unwrap();
    let printed = words(&run(elsewhere.path(), "measure").output().unwrap());
    assert!(printed.contains("Cannot write to"), "{printed}");
}
