//! The inner loop: distances of a word to many. Safe code that the compiler vectorises; its callers are compiled for several
//! processors, and the one that runs is chosen at run time. The results are the same everywhere.

use std::ops::Range;

use multiversion::multiversion;

use super::Near;

/// How many are compared before any is looked at.
const BLOCK: usize = 16;

/// A place and a distance in one number.
#[derive(Clone, Copy)]
pub struct At(u64);

impl At {
    fn new(place: usize, distance: u8) -> Self {
        At((place as u64) << 8 | u64::from(distance))
    }

    /// Which of those compared.
    pub fn place(self) -> usize {
        (self.0 >> 8) as usize
    }

    /// How far it is.
    pub fn distance(self) -> u32 {
        (self.0 & 0xff) as u32
    }
}

/// What is compared.
pub trait Word: Copy {
    /// The Hamming distance.
    fn distance(self, other: Self) -> u8;
}

macro_rules! word {
    ($($word:ty),*) => {$(
        impl Word for $word {
            #[inline(always)]
            fn distance(self, other: Self) -> u8 {
                (self ^ other).count_ones() as u8
            }
        }
    )*};
}

word!(u16, u32, u64);

/// Collects, in order, those of a range of `words` no farther than `most` from `query`. Inlined, for the processor that its
/// caller is for. Blocks are whole, past the end of the range too, since most ranges are shorter than one.
#[inline(always)]
pub fn scan<W: Word>(words: &[W], range: Range<usize>, query: W, most: u32, hits: &mut Vec<At>) {
    let most = most.min(254) as u8;
    for start in range.clone().step_by(BLOCK) {
        let mut last = [query; BLOCK];
        let block = words[start..].first_chunk().unwrap_or_else(|| {
            last[..words.len() - start].copy_from_slice(&words[start..]);
            &last
        });
        let mut distances = [0; BLOCK];
        for (distance, word) in distances.iter_mut().zip(block) {
            *distance = word.distance(query);
        }
        let valid = u32::MAX >> (32 - BLOCK.min(range.end - start));
        let mut near = within(&distances, most) & valid;
        while near != 0 {
            let at = near.trailing_zeros() as usize;
            hits.push(At::new(start + at, distances[at]));
            near &= near - 1;
        }
    }
}

/// Bit `i` is set where distance `i` is at most `most`.
#[inline(always)]
fn within(distances: &[u8; BLOCK], most: u8) -> u32 {
    let flags = distances.map(|distance| u8::from(distance <= most));
    // The product brings the lowest bits of eight bytes together in the highest byte.
    let gather =
        |bytes: &[u8; 8]| u64::from_le_bytes(*bytes).wrapping_mul(0x0102_0408_1020_4080) >> 56;
    let (bytes, _) = flags.as_chunks();
    bytes
        .iter()
        .rev()
        .fold(0, |mask, bytes| mask << 8 | gather(bytes) as u32)
}

/// Collects those of a whole list that are no farther than `bound`.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512vl+avx512vpopcntdq+avx512bitalg+bmi2+popcnt",
    "x86_64+avx2+bmi2+popcnt",
    "x86_64+popcnt",
))]
pub fn words(words: &[u64], word: u64, bound: u32, near: &mut Vec<Near>) {
    let mut hits = Vec::new();
    scan(words, 0..words.len(), word, bound, &mut hits);
    near.extend(
        hits.iter()
            .map(|hit| Near::new(hit.distance(), words[hit.place()], hit.place())),
    );
}
