//! Synthetic images for `bench store`: codes around centres, ids as the service makes them, no originals.
//! Knows nothing of what is done with them.

use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{
    code::{HashCode, Length},
    index::{Codes, ImageId, NewImage, Sketch},
};

/// Images by number, the same every time.
pub struct Images {
    centres: Vec<u64>,
    sketch: Option<usize>,
    labelled: bool,
}

/// The labels of images, by of how many one has it.
pub const LABELS: [(&str, usize); 3] = [("half", 2), ("hundredth", 100), ("rare", 10_000)];

impl Images {
    /// Around so many centres; uniform where there are none. With sketches of so many bytes, and with [`LABELS`].
    pub fn new(centres: usize, sketch: Option<usize>, labelled: bool) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        Images {
            centres: (0..centres).map(|_| rng.random()).collect(),
            sketch,
            labelled,
        }
    }

    /// The codes of the image with a number. Bits stray from their centre with a probability of .02, as a trained model's do with ten classes.
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

    /// The sketch of the image with a number, if images have any.
    pub fn sketch(&self, number: usize) -> Option<Sketch> {
        let mut values = vec![0u8; self.sketch?];
        ChaCha8Rng::seed_from_u64(number as u64 ^ 1 << 40).fill_bytes(&mut values);
        let values = values.into_iter().map(|value| value as i8).collect();
        Sketch::from_values(values).ok()
    }

    /// The id of the image with a number, as the service makes ids: UUIDs that begin with a time.
    pub fn id(&self, number: usize) -> ImageId {
        let mut rng = ChaCha8Rng::seed_from_u64(!(number as u64));
        let milliseconds = 1_700_000_000_000 + number as u64 / 8;
        let random = rng.random();
        let uuid = uuid::Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid();
        // A UUID is an id.
        uuid.to_string().parse().unwrap_or_else(|_| unreachable!())
    }

    /// The image with a number.
    pub fn image(&self, number: usize) -> NewImage {
        let labels = LABELS.into_iter();
        let labels = labels.filter(|(_, of)| number.is_multiple_of(*of));
        let labels = labels.map(|(label, _)| label);
        NewImage {
            id: self.id(number),
            codes: vec![Codes {
                generation: 1,
                codes: self.codes(number),
                sketch: self.sketch(number),
            }],
            labels: match self.labelled {
                true => labels.map(str::to_owned).collect(),
                false => Vec::new(),
            },
            payload: None,
            media_type: "image/jpeg".to_owned(),
            bytes: 0,
            original: None,
            times: None,
        }
    }
}
