//! `scihcgrl-paper` on a small collection, through the program itself: its tables, that it resumes
//! where it was stopped, and its rivals.

use std::{fs, process::Command};

use tempfile::TempDir;

#[test]
fn tables_are_made_once_and_resumed() {
    const PAGE: &str =
        "# A page\n\n<!-- reproduce: from here -->\nold\n<!-- reproduce: to here -->\n\nwords\n";
    const BOTH: &str = "--hidden 16 --epochs 1 --batch-size 16 --warm-up-epochs";
    let folder = TempDir::new().unwrap();
    let (page, work) = (folder.path().join("page.md"), folder.path().join("work"));
    fs::write(&page, PAGE).unwrap();
    let run = |more: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_scihcgrl-paper"))
            .args("reproduce --data samples/gallery --backbone models/cifar10.safetensors --seeds 2 --queries 20 --training 100".split(' '))
            .args("--input-size 32 --joint-seeds 1".split(' '))
            .args(["--joint", &format!("{BOTH} 1"), "--student", &format!("{BOTH} 0")])
            .args(["--work", &work.display().to_string()])
            .args(["--report", &page.display().to_string()])
            .args(more)
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), said)
    };
    let row = ["--row", "one epoch=--warm-up-epochs 1 --hidden 16"];
    let (done, said) = run(&row);
    assert!(done, "{said}");
    let made = said.matches("precision within radius 2").count();
    assert_eq!(made, 2 * 3 + 3 + 3, "{said}");
    let text = fs::read_to_string(&page).unwrap();
    assert!(
        text.starts_with("# A page\n") && text.ends_with("\n\nwords\n") && !text.contains("old")
    );
    let cells = |name: &str| {
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("| {name} |")));
        line.unwrap_or_else(|| panic!("{name}: {text}"))
            .matches('.')
            .count()
    };
    // Mean and deviation of three figures at three lengths; means of two at three.
    assert_eq!(
        (
            cells("one epoch"),
            cells("with them"),
            cells("the student, with them")
        ),
        (18, 6, 6)
    );
    let figure = fs::read_to_string(folder.path().join("figures/page-precision.svg")).unwrap();
    assert!(figure.contains("one epoch"));

    let (done, said) = run(&row);
    assert!(
        done && !said.contains("precision within radius 2"),
        "{said}"
    );
    let (done, said) = run(&["--row", "no flags"]);
    assert!(
        !done && said.contains("it must be a name, '=' and flags"),
        "{said}"
    );
    let (done, said) = run(&["--row", "bad=--hidden many"]);
    assert!(!done && said.contains("invalid value 'many'"), "{said}");
}

#[test]
fn a_rival_trains_and_refuses_what_needs_hash_centres() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("model.safetensors");
    let train = |flags: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_scihcgrl-paper"))
            .args("train --data samples/gallery --backbone models/cifar10.safetensors".split(' '))
            .args("--input-size 32 --hidden 16 --epochs 0 --warm-up-epochs 1".split(' '))
            .args(["--out", out.to_str().unwrap()])
            .args(flags.split(' '))
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), said)
    };
    for (flags, words) in [
        ("--method hashnet --mix 0.5", "without hash centres"),
        (
            "--method hashnet --teacher models/cifar10.safetensors",
            "method is hashnet; it must be one with hash centres if there is a teacher",
        ),
    ] {
        let (done, said) = train(flags);
        assert!(!done && said.contains(words), "{flags}: {said}");
        assert!(!out.exists());
    }
    let (done, said) = train("--method dsh --cell independent");
    assert!(done && out.exists(), "{said}");
}
