//! Crashes of the index: a writing process that is killed again and again, and damaged files
//! (`damage`). The writer is this test program, started again.

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use crate::server::times;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use scihcgrl::{
    code::{HashCode, Length},
    index::{
        Codes, ImageId, Index, IndexConfig, IndexError, NewImage, Precondition, Requirement, Sketch,
    },
};
use serde_json::json;

mod damage;

const WRITERS: usize = 6;
const IDS: usize = 30;
const FOLDER: &str = "CRASHES_FOLDER";
const DONE: &str = "CRASHES_DONE";

/// A step of a writer. Every run has the same steps.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Put(usize),
    Relabel(usize),
    Delete(usize),
}

fn step(writer: usize, number: usize) -> Step {
    let mut rng = ChaCha8Rng::seed_from_u64((writer * 1_000_000 + number) as u64);
    let image = rng.random_range(0..IDS);
    match rng.random_range(0..10) {
        0..7 => Step::Put(image),
        7..8 => Step::Relabel(image),
        _ => Step::Delete(image),
    }
}

fn id(writer: usize, image: usize) -> ImageId {
    format!("{writer}-{image}").parse().unwrap()
}

/// Describes an image in one line; images that differ have different lines.
fn line(version: usize, labelled: usize) -> String {
    format!("version {version} label {labelled} payload {version}")
}

/// The end of an image's line if its sketch cannot be read.
const WITHOUT_SKETCH: &str = " without its sketch";
/// The bytes of a sketch.
const SKETCH_BYTES: usize = 128;

fn sketch(version: usize) -> Sketch {
    let values = (0..SKETCH_BYTES).map(|at| (version * 7919 + at * 31) as i8);
    Sketch::from_values(values.collect()).unwrap()
}

fn image(writer: usize, image: usize, version: usize) -> NewImage {
    let code = |length: Length| HashCode::from_word(length, (version * 0x10_0201) as u64);
    NewImage {
        id: id(writer, image),
        codes: vec![Codes {
            generation: 1,
            codes: Length::ALL.map(code).to_vec(),
            sketch: Some(sketch(version)),
        }],
        labels: vec![format!("label {version}")],
        payload: Some(json!(version)),
        media_type: format!("image/{}", version % 40),
        bytes: version as u64,
        original: None,
        times: None,
    }
}

/// Returns a writer's images after this many steps.
fn after(writer: usize, steps: usize) -> BTreeMap<usize, String> {
    let mut images: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    for number in 0..steps {
        match step(writer, number) {
            Step::Put(image) => drop(images.insert(image, (number, number))),
            Step::Relabel(image) => {
                images.entry(image).and_modify(|(_, label)| *label = number);
            }
            Step::Delete(image) => drop(images.remove(&image)),
        }
    }
    let lines = images.into_iter();
    lines
        .map(|(image, (version, label))| (image, line(version, label)))
        .collect()
}

/// Reads an image from the index and checks that its parts belong together; returns its line.
fn whole(index: &Index, writer: usize, number: usize) -> Result<Option<String>, IndexError> {
    let id = id(writer, number);
    let Some(record) = index.get(&id)? else {
        return Ok(None);
    };
    let version = record.payload.unwrap().as_u64().unwrap() as usize;
    let expected = image(writer, number, version);
    assert_eq!(record.codes, expected.codes[0].codes);
    assert_eq!(record.media_type, expected.media_type);
    assert_eq!(record.bytes, expected.bytes);
    assert!(record.original.is_some());
    let label = record.labels[0].strip_prefix("label ").unwrap();
    let line = line(version, label.parse().unwrap());
    Ok(Some(match record.sketch {
        None => line + WITHOUT_SKETCH,
        sketch => {
            assert_eq!(sketch, expected.codes[0].sketch);
            line
        }
    }))
}

/// Returns a writer's images in the index.
fn found(index: &Index, writer: usize) -> BTreeMap<usize, String> {
    let each = (0..IDS).map(|number| (number, whole(index, writer, number).unwrap()));
    each.filter_map(|(number, line)| Some((number, line?)))
        .collect()
}

/// Does one step of a writer.
async fn take(index: &Index, writer: usize, number: usize) {
    match step(writer, number) {
        Step::Put(at) => {
            let mut image = image(writer, at, number);
            image.original = Some(index.new_original_key().await.unwrap());
            drop(index.put(image).await.unwrap());
        }
        Step::Relabel(at) => {
            let labels = Some(vec![format!("label {number}")]);
            drop(
                index
                    .patch(id(writer, at), labels, None, Precondition::default())
                    .await
                    .unwrap(),
            );
        }
        Step::Delete(at) => drop(
            index
                .delete(id(writer, at), Precondition::default())
                .await
                .unwrap(),
        ),
    }
}

fn open(folder: &Path) -> Result<Index, IndexError> {
    Index::open(IndexConfig {
        path: folder.to_owned(),
        model: Requirement::Exact("m".to_owned()),
        precision: Requirement::Preferred("fp32".to_owned()),
        lengths: Length::ALL.to_vec(),
        sketch: Some(SKETCH_BYTES),
        sketch_storage: None,
        gallery: None,
        cache_bytes: 16 << 20,
    })
}

/// The child process: does nothing unless the test below started it. Prints every acknowledged
/// step.
#[test]
fn writes_until_it_is_killed() {
    let (Ok(folder), Ok(done)) = (env::var(FOLDER), env::var(DONE)) else {
        return;
    };
    let index = open(Path::new(&folder)).unwrap();
    let done: Vec<usize> = serde_json::from_str(&done).unwrap();
    println!("\nopen");
    let write = async |writer: usize, first: usize| {
        for number in first.. {
            take(&index, writer, number).await;
            let mut stdout = std::io::stdout().lock();
            writeln!(stdout, "ack {writer} {number}").unwrap();
            stdout.flush().unwrap();
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::join!(
            write(0, done[0]),
            write(1, done[1]),
            write(2, done[2]),
            write(3, done[3]),
            write(4, done[4]),
            write(5, done[5]),
        );
    });
}

fn child(test: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([
        &format!("storage::crashes::{test}"),
        "--exact",
        "--nocapture",
    ]);
    command
}

/// Counts the step that a line of a writer's process acknowledges, if it does.
fn acknowledge(done: &mut [usize; WRITERS], line: &str) {
    let mut words = line.split(' ');
    if words.next() == Some("ack") {
        let [writer, number] =
            [words.next(), words.next()].map(|word| word.unwrap().parse::<usize>());
        let (writer, number) = (writer.unwrap(), number.unwrap());
        done[writer] = number + 1;
    }
}

/// Of each writer, all acknowledged steps are done, at most one more, and nothing else.
#[test]
fn kills_lose_no_acknowledged_step_and_add_none() {
    let folder = tempfile::tempdir().unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut done = [0; WRITERS];
    let mut between = 0;
    let kills = times(60, 200);
    for kill in 0..kills {
        let mut child = child("writes_until_it_is_killed")
            .env(FOLDER, folder.path())
            .env(DONE, serde_json::to_string(&done).unwrap())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Some are killed while they open.
        if kill % 10 > 0 {
            assert!(
                lines.any(|line| line.unwrap() == "open"),
                "kill {kill}: the store did not open"
            );
            // First wait for a number of steps, because machines differ; then for a time, so that
            // the kill comes anywhere in a step.
            let steps = rng.random_range(0..100);
            let lines = lines.by_ref().map_while(Result::ok).take(steps);
            lines.for_each(|line| acknowledge(&mut done, &line));
        }
        thread::sleep(Duration::from_micros(rng.random_range(0..5_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        let lines = lines.map_while(Result::ok);
        lines.for_each(|line| acknowledge(&mut done, &line));
        let index = open(folder.path()).unwrap();
        assert_eq!(index.stats().damage, [], "kill {kill}");
        let mut images = 0;
        for (writer, done) in done.iter_mut().enumerate() {
            let found = found(&index, writer);
            if found != after(writer, *done) {
                assert_eq!(
                    found,
                    after(writer, *done + 1),
                    "kill {kill}, writer {writer}, {done} steps"
                );
                *done += 1;
                between += 1;
            }
            images += found.len() as u64;
        }
        assert_eq!(index.stats().images, images);
        // Each image has its own original, and unreferenced originals are listed.
        let referenced = index.originals().unwrap();
        assert_eq!(referenced.len() as u64, images);
        let mut unreferenced = index.released_originals().unwrap();
        let unreferenced: Vec<_> = std::iter::from_fn(|| unreferenced.try_recv().ok()).collect();
        assert!(
            unreferenced
                .iter()
                .all(|name| !referenced.contains_key(name))
        );
        if kill % 20 == 0 {
            assert_eq!(index.verify().unwrap(), []);
        }
    }
    let steps: usize = done.iter().sum();
    println!("{kills} kills, {steps} steps acknowledged, {between} done but not acknowledged");
    assert!(
        steps > 25 * kills,
        "only {steps} steps: the writer hardly ran"
    );
}
