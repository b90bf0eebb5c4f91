//! The inner loop: distances of one word to many. Safe code that the compiler vectorises. Its
//! callers are compiled for several processors, and the variant is chosen at run time. The results
//! are the same everywhere.

use std::ops::Range;

use multiversion::multiversion;

use crate::memory::probe::near::NearWord;

/// The number of words compared before the first result is examined.
const BLOCK: usize = 16;

/// A word that is compared.
pub trait Word: Copy {
    /// The Hamming distance.
    fn distance(self, other: Self) -> u32;
}

macro_rules! word {
    ($($word:ty),*) => {$(
        impl Word for $word {
            #[inline(always)]
            fn distance(self, other: Self) -> u32 {
                (self ^ other).count_ones()
            }
        }
    )*};
}

word!(u16, u32, u64);

/// Calls `found`, in order, with the index and the distance of each word in `range` that is within
/// `most` of `query`. Inlined so that it is compiled for the caller's processor. Processes whole
/// blocks, even past the end of the range, since most ranges are shorter than one.
#[inline(always)]
pub fn scan<W: Word>(
    words: &[W],
    range: Range<usize>,
    query: W,
    max_distance: u32,
    mut found: impl FnMut(usize, u32),
) {
    for start in range.clone().step_by(BLOCK) {
        let mut last = [query; BLOCK];
        let block = words[start..].first_chunk().unwrap_or_else(|| {
            last[..words.len() - start].copy_from_slice(&words[start..]);
            &last
        });
        let distances = block.map(|word| word.distance(query));
        // The sign bit of `max_distance - distance`: arithmetic stays in vector registers,
        // comparisons may not.
        let far = distances.map(|distance| max_distance.wrapping_sub(distance) >> 31);
        // Most blocks have no near word.
        if far.iter().fold(1, |all, far| all & far) == 1 {
            continue;
        }
        let valid = u32::MAX >> (32 - BLOCK.min(range.end - start));
        #[expect(clippy::cast_possible_truncation, reason = "each is 0 or 1")]
        let mut near = gathered(far.map(|far| 1 - far as u8)) & valid;
        while near != 0 {
            let lane = near.trailing_zeros() as usize;
            found(start + lane, distances[lane]);
            near &= near - 1;
        }
    }
}

/// Bit `i` is flag `i`.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "each gathered byte is below 256"
)]
fn gathered(flags: [u8; BLOCK]) -> u32 {
    // The product gathers the lowest bits of eight bytes in the highest byte.
    let gather =
        |bytes: &[u8; 8]| u64::from_le_bytes(*bytes).wrapping_mul(0x0102_0408_1020_4080) >> 56;
    let (bytes, _) = flags.as_chunks();
    bytes
        .iter()
        .rev()
        .fold(0, |mask, bytes| mask << 8 | gather(bytes) as u32)
}

/// Collects the words of a whole list that are within `bound`.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512vl+avx512vpopcntdq+avx512bitalg+bmi2+popcnt",
    "x86_64+avx2+bmi2+popcnt",
    "x86_64+popcnt",
))]
pub fn words(words: &[u64], word: u64, bound: u32, near: &mut Vec<NearWord>) {
    scan(words, 0..words.len(), word, bound, |place, distance| {
        near.push(NearWord::new(distance, words[place], place));
    });
}
