//! A set of 24-bit words as a bitmap: 2 MiB for any number of words, and 128 KiB of ranks. A search
//! enumerates the neighbours of the upper 18 bits and masks the 64-bit map word behind each.

use std::ops::RangeInclusive;

use multiversion::multiversion;

use crate::memory::probe::near::NearWord;

/// The number of low bits, which select a bit of a map word.
const LOW: u32 = 6;
const HIGH: u32 = 24 - LOW;
/// The number of map words between two ranks.
const STRIDE: usize = 8;

/// Masks of the 6-bit values within each distance of 0. XORing the bit index moves the centre.
static WITHIN: [u64; 7] = within();

const fn within() -> [u64; 7] {
    let mut masks = [0; 7];
    let mut distance = 0;
    while distance < 7 {
        let mut bit = 0u32;
        while bit < 64 {
            if bit.count_ones() as usize <= distance {
                masks[distance] |= 1 << bit;
            }
            bit += 1;
        }
        distance += 1;
    }
    masks
}

/// Moves the centre of a mask from bit 0 to bit `centre`: swaps halves, quarters and so on for each
/// set bit of `centre`.
#[inline(always)]
fn centred(mut mask: u64, centre: u32) -> u64 {
    const EVEN: [u64; 6] = [
        0x5555_5555_5555_5555,
        0x3333_3333_3333_3333,
        0x0f0f_0f0f_0f0f_0f0f,
        0x00ff_00ff_00ff_00ff,
        0x0000_ffff_0000_ffff,
        0x0000_0000_ffff_ffff,
    ];
    for (bit, even) in EVEN.into_iter().enumerate() {
        if centre >> bit & 1 == 1 {
            mask = (mask & even) << (1 << bit) | mask >> (1 << bit) & even;
        }
    }
    mask
}

/// A set of 24-bit words as a bitmap.
#[derive(Debug)]
pub struct Bitmap {
    map: Vec<u64>,
    /// The number of words before every eighth map word.
    ranks: Vec<u32>,
    len: usize,
}

impl Bitmap {
    /// Creates the set from ascending words.
    pub fn new(words: &[u64]) -> Self {
        let mut map = vec![0u64; 1 << HIGH];
        for &word in words {
            map[(word >> LOW) as usize & ((1 << HIGH) - 1)] |= 1 << (word & 63);
        }
        let mut before = 0;
        let ranks = map
            .chunks(STRIDE)
            .map(|chunk| {
                let rank = before;
                before += chunk.iter().map(|bits| bits.count_ones()).sum::<u32>();
                rank
            })
            .collect();
        Bitmap {
            map,
            ranks,
            len: before as usize,
        }
    }

    /// The number of words.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The memory that it takes, in bytes.
    pub fn bytes(&self) -> usize {
        8 * self.map.capacity() + 4 * self.ranks.capacity()
    }

    /// The slot of a word, if the set has it.
    pub fn slot(&self, word: u64) -> Option<u32> {
        let (block, bit) = ((word >> LOW) as usize, word & 63);
        let bits = *self.map.get(block)?;
        (bits >> bit & 1 == 1).then(|| self.rank(block) + (bits & ((1 << bit) - 1)).count_ones())
    }

    /// The number of words before the `at`th map word.
    #[inline(always)]
    fn rank(&self, at: usize) -> u32 {
        let start = at / STRIDE * STRIDE;
        let between = self.map[start..at].iter().map(|bits| bits.count_ones());
        self.ranks[at / STRIDE] + between.sum::<u32>()
    }

    /// The words, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        self.map
            .iter()
            .enumerate()
            .flat_map(|(at, &bits)| ones(bits).map(move |bit| (at as u64) << LOW | u64::from(bit)))
    }

    /// Does the steps from `step` to `radius`: step `n` visits the words whose upper bits differ in
    /// `n` bits. If it is cheaper, visits everything left at once and returns true.
    pub fn visit(
        &self,
        word: u64,
        step: u32,
        radius: u32,
        bound: u32,
        near: &mut Vec<NearWord>,
    ) -> bool {
        let all = radius >= NEIGHBOURS;
        collect_near(self, word, step..=radius, all, bound, near);
        all
    }
}

/// Collects the words within `bound` whose upper bits differ in `apart` bits, or in at least the
/// fewest of these if `all` is set.
#[multiversion(targets("x86_64+bmi1+bmi2+popcnt"))]
fn collect_near(
    bitmap: &Bitmap,
    word: u64,
    apart: RangeInclusive<u32>,
    all: bool,
    bound: u32,
    near: &mut Vec<NearWord>,
) {
    let centre = (word >> LOW) as usize;
    let masks: [u64; 7] = std::array::from_fn(|d| centred(WITHIN[d], (word & 63) as u32));
    let mask = |upper: u32| {
        bound
            .checked_sub(upper)
            .map_or(0, |left| masks[left.min(LOW) as usize])
    };
    let mut collect = |at: usize, bits: u64| {
        let rank = bitmap.rank(at);
        for bit in ones(bits) {
            let found = (at as u64) << LOW | u64::from(bit);
            let before = (bitmap.map[at] & ((1 << bit) - 1)).count_ones();
            let distance = (found ^ word).count_ones();
            near.push(NearWord::new(distance, found, (rank + before) as usize));
        }
    };
    if all {
        for (at, bits) in bitmap.map.iter().enumerate() {
            let upper = (at ^ centre).count_ones();
            let bits = if upper >= *apart.start() {
                bits & mask(upper)
            } else {
                0
            };
            if bits != 0 {
                collect(at, bits);
            }
        }
        return;
    }
    for upper in apart {
        let mask = mask(upper);
        let mut found = [0; BATCH];
        for batch in DIFFERENCES[FIRST[upper as usize]..FIRST[upper as usize + 1]].chunks(BATCH) {
            for (bits, &difference) in found.iter_mut().zip(batch) {
                *bits = bitmap.map[centre ^ difference as usize] & mask;
            }
            for (&bits, &difference) in found.iter().zip(batch) {
                if bits != 0 {
                    collect(centre ^ difference as usize, bits);
                }
            }
        }
    }
}

/// The number of map words that are read before the first is examined.
const BATCH: usize = 64;
/// Radii below this are searched by neighbours, larger ones by reading the whole map.
const NEIGHBOURS: u32 = 6;

/// The 18-bit masks with fewer than [`NEIGHBOURS`] set bits, by number of set bits, and the start
/// of each group.
static DIFFERENCES: [u32; FIRST[NEIGHBOURS as usize]] = differences();
const FIRST: [usize; NEIGHBOURS as usize + 1] = first();

const fn first() -> [usize; NEIGHBOURS as usize + 1] {
    let mut first = [0; NEIGHBOURS as usize + 1];
    let (mut ones, mut choices) = (0, 1);
    while ones < NEIGHBOURS {
        first[ones as usize + 1] = first[ones as usize] + choices;
        choices = choices * (HIGH - ones) as usize / (ones as usize + 1);
        ones += 1;
    }
    first
}

const fn differences() -> [u32; FIRST[NEIGHBOURS as usize]] {
    let mut differences = [0; FIRST[NEIGHBOURS as usize]];
    let mut next = FIRST;
    let mut mask = 0u32;
    while mask < 1 << HIGH {
        let ones = mask.count_ones();
        if ones < NEIGHBOURS {
            differences[next[ones as usize]] = mask;
            next[ones as usize] += 1;
        }
        mask += 1;
    }
    differences
}

#[inline(always)]
fn ones(mut bits: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let bit = bits.trailing_zeros();
        (bits != 0).then(|| {
            bits &= bits - 1;
            bit
        })
    })
}
