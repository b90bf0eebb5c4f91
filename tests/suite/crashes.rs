//! Crashes: a writing process killed again and again; and in `damage`, stores with a file damaged.
//! Knows the public interface and that a store is a folder of files; the writer is this test's own program, started again.

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

/// What a writer does to its images, step by step; the same every time.
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

/// What is known of an image after a step: all that can be told apart of it, in one line.
fn line(version: usize, labelled: usize) -> String {
    format!("version {version} label {labelled} payload {version}")
}

/// What the line of an image ends with whose sketch cannot be read.
const LACKING: &str = " without its sketch";
/// How many bytes a sketch has.
const SKETCH: usize = 128;

fn sketch(version: usize) -> Sketch {
    let values = (0..SKETCH).map(|at| (version * 7919 + at * 31) as i8);
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

/// The images of a writer after so many steps.
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

/// One image as the index holds it, checked against itself.
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
        None => line + LACKING,
        sketch => {
            assert_eq!(sketch, expected.codes[0].sketch);
            line
        }
    }))
}

/// What the index holds of a writer's images.
fn found(index: &Index, writer: usize) -> BTreeMap<usize, String> {
    let each = (0..IDS).map(|number| (number, whole(index, writer, number).unwrap()));
    each.filter_map(|(number, line)| Some((number, line?)))
        .collect()
}

/// Does a writer's step.
async fn take(index: &Index, writer: usize, number: usize) {
    match step(writer, number) {
        Step::Put(at) => {
            let mut image = image(writer, at, number);
            image.original = Some(index.name_original().await.unwrap());
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
        sketch: Some(SKETCH),
        kept: None,
        gallery: None,
        cache_bytes: 16 << 20,
    })
}

/// The child: does nothing unless it was started by the test below. It tells each step that was acknowledged.
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
            let mut out = std::io::stdout().lock();
            writeln!(out, "ack {writer} {number}").unwrap();
            out.flush().unwrap();
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
    command.args([&format!("crashes::{test}"), "--exact", "--nocapture"]);
    command
}

/// Nothing that was acknowledged is lost, and nothing is there that was not asked for: of each writer, all steps up to the
/// last acknowledged one are done, and at most the one after it.
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

#[test]
fn kills_lose_nothing_and_invent_nothing() {
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
                "kill {kill}: it did not open"
            );
            // First by steps, since machines differ, and then by time, so that it ends anywhere in a step.
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
        assert_eq!(index.facts().damage, [], "kill {kill}");
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
        assert_eq!(index.facts().images, images);
        // Each image has an original of its own, and those that were left behind are known.
        let tied = index.originals().unwrap();
        assert_eq!(tied.len() as u64, images);
        let mut loose = index.released().unwrap();
        let loose: Vec<_> = std::iter::from_fn(|| loose.try_recv().ok()).collect();
        assert!(loose.iter().all(|name| !tied.contains_key(name)));
        if kill % 20 == 0 {
            assert_eq!(index.verify().unwrap(), []);
        }
    }
    let steps: usize = done.iter().sum();
    println!("{kills} kills, {steps} steps acknowledged, {between} done and not yet acknowledged");
    assert!(
        steps > 25 * kills,
        "only {steps} steps: the writer hardly ran"
    );
}
