//! Synthetic images for `bench store`: codes around centres, ids as the service makes them, no
//! originals.

use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::{
    code::{HashCode, Length},
    index::{Codes, FieldType, ImageId, NewImage, Sketch},
};

/// Makes images from their number. The same number gives the same image.
pub struct Images {
    centres: Vec<u64>,
    sketch: Option<usize>,
    labelled: bool,
    with_payload: bool,
}

/// Each label, with a number `n`: one image of `n` has it.
pub const LABELS: [(&str, usize); 3] = [("half", 2), ("hundredth", 100), ("rare", 10_000)];

/// The members of payloads, with their types.
pub const FIELDS: [(&str, FieldType); 4] = [
    ("brand", FieldType::Keyword),
    ("price", FieldType::Number),
    ("stock", FieldType::Integer),
    ("size", FieldType::Integer),
];

fn payload(number: usize) -> Value {
    let mut rng = ChaCha8Rng::seed_from_u64(number as u64 ^ 2 << 40);
    json!({
        "brand": format!("brand {}", rng.random_range(0..1000)),
        "price": f64::from(rng.random_range(0..1_000_000)) / 100.0,
        "stock": rng.random_range(0..1000),
        "size": rng.random_range(0..100),
    })
}

impl Images {
    /// Codes are around `centres`, or uniform if that is 0. `sketch` is the bytes of a sketch.
    /// Images have [`LABELS`] if `labelled`, and values of [`FIELDS`] if `with_payload`.
    pub fn new(centres: usize, sketch: Option<usize>, labelled: bool, with_payload: bool) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        Images {
            centres: (0..centres).map(|_| rng.random()).collect(),
            sketch,
            labelled,
            with_payload,
        }
    }

    /// Returns the codes of an image. Bits differ from their centre with a probability of .02, as
    /// those of a model trained on ten classes.
    pub fn codes(&self, number: usize) -> Vec<HashCode> {
        let mut rng = ChaCha8Rng::seed_from_u64(number as u64);
        let centre = match self.centres.len() {
            0 => None,
            count => Some(self.centres[rng.random_range(0..count)]),
        };
        let code = |length: Length| {
            let word = match centre {
                None => rng.random(),
                Some(centre) => (0..length.bits()).fold(centre, |word, bit| {
                    word ^ u64::from(rng.random_range(0..50) == 0) << bit
                }),
            };
            HashCode::from_word(length, word)
        };
        Length::ALL.map(code).to_vec()
    }

    /// Returns the sketch of an image, if images have sketches.
    pub fn sketch(&self, number: usize) -> Option<Sketch> {
        let mut values = vec![0u8; self.sketch?];
        ChaCha8Rng::seed_from_u64(number as u64 ^ 1 << 40).fill_bytes(&mut values);
        let values = values.into_iter().map(u8::cast_signed).collect();
        Sketch::from_values(values).ok()
    }

    /// Returns the id of an image, as the service makes ids: a UUID that begins with a time.
    pub fn id(number: usize) -> ImageId {
        let mut rng = ChaCha8Rng::seed_from_u64(!(number as u64));
        let milliseconds = 1_700_000_000_000 + number as u64 / 8;
        let random = rng.random();
        let uuid = uuid::Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid();
        // Every UUID is a valid id.
        uuid.to_string().parse().unwrap_or_else(|_| unreachable!())
    }

    pub fn image(&self, number: usize) -> NewImage {
        let labels = LABELS.into_iter();
        let labels = labels.filter(|(_, of)| number.is_multiple_of(*of));
        let labels = labels.map(|(label, _)| label);
        NewImage {
            id: Self::id(number),
            codes: vec![Codes {
                generation: 1,
                codes: self.codes(number),
                sketch: self.sketch(number),
            }],
            labels: if self.labelled {
                labels.map(str::to_owned).collect()
            } else {
                Vec::new()
            },
            payload: self.with_payload.then(|| payload(number)),
            media_type: "image/jpeg".to_owned(),
            bytes: 0,
            original: None,
            times: None,
        }
    }
}
