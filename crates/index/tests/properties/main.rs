//! The index as its callers meet it; here, the images all of these tests use.
//! Knows the public interface, and of the disk only what the newest file in migrations/ says.

#![allow(clippy::unwrap_used)] // allow-unwrap: a test stops where it fails

use std::path::Path;

use proptest::test_runner::{Config, FileFailurePersistence, RngSeed};
use scihcgrl_index::{
    Codes, ImageId, Index, IndexConfig, IndexError, NewImage, Record, Wanted,
    code::{HashCode, Length},
};
use serde_json::json;

mod folders;
mod log;
mod plain_list;
mod together;
mod turning;

/// Inputs that failed once and are tried first from then on.
const REGRESSIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/regressions");

/// So many cases of one seed. If `TEST_LONG` is set, as `make test-long` does, twenty times as many of a random seed, and what fails is
/// added to [`REGRESSIONS`].
fn cases(few: u32, seed: u64) -> Config {
    let usual = Config::default();
    match std::env::var_os("TEST_LONG") {
        Some(_) => Config {
            cases: 20 * few,
            failure_persistence: Some(Box::new(FileFailurePersistence::Direct(REGRESSIONS))),
            ..usual
        },
        None => Config {
            cases: few,
            failure_persistence: None,
            rng_seed: RngSeed::Fixed(seed),
            ..usual
        },
    }
}

fn open(path: &Path) -> Result<Index, IndexError> {
    open_as(path, "0123456789ab", &Length::ALL)
}

fn open_as(path: &Path, model: &str, lengths: &[Length]) -> Result<Index, IndexError> {
    open_in(path, model, Wanted::Rather("fp32".to_owned()), lengths)
}

fn open_in(
    path: &Path,
    model: &str,
    precision: Wanted,
    lengths: &[Length],
) -> Result<Index, IndexError> {
    Index::open(IndexConfig {
        path: path.to_owned(),
        model: Wanted::Exactly(model.to_owned()),
        precision,
        lengths: lengths.to_vec(),
        gallery: None,
        cache_bytes: 16 << 20,
    })
}

fn id(number: usize) -> ImageId {
    format!("image-{number}").parse().unwrap()
}

/// Few codes, near each other: a seed's bits fall at both ends of each length.
fn codes(seed: u8) -> Vec<HashCode> {
    let word = |length: Length| {
        u64::from(seed & 7) | u64::from(seed >> 3 & 3) << (length.bits() - 2) | 0xab_cd00
    };
    Length::ALL
        .map(|length| HashCode::from_word(length, word(length)))
        .to_vec()
}

fn labels(bits: u8) -> Vec<String> {
    (0..3)
        .filter(|bit| bits >> bit & 1 == 1)
        .map(|bit| format!("label {bit}"))
        .collect()
}

fn image(number: usize, seed: u8, bits: u8) -> NewImage {
    NewImage {
        id: id(number),
        codes: vec![Codes {
            generation: 1,
            codes: codes(seed),
        }],
        labels: labels(bits),
        payload: (bits & 8 != 0).then(|| json!({ "seed": seed })),
        media_type: format!("image/{seed}"),
        bytes: u64::from(bits),
        original: None,
        times: None,
    }
}

fn check_record(record: &Record, image: &NewImage) {
    assert_eq!(record.id, image.id);
    assert_eq!(record.codes, image.codes[0].codes);
    assert_eq!(record.labels, image.labels);
    assert_eq!(record.payload, image.payload);
    assert_eq!(record.media_type, image.media_type);
    assert_eq!(record.bytes, image.bytes);
    assert_eq!(record.original, image.original);
    assert!(record.created_at_ms > 0 && record.created_at_ms <= record.updated_at_ms);
}
