//! Words of 24 bits as a bitmap of all that there could be: 2 MiB however many there are, and 128 KiB to count them by.
//! A search enumerates the neighbours of the upper 18 bits and masks the 64 words behind each.

use std::ops::RangeInclusive;

use multiversion::multiversion;

use crate::memory::probe::near::Near;

/// Bits of a word that select within one word of the map.
const LOW: u32 = 6;
const HIGH: u32 = 24 - LOW;
/// Words of the map between two counts.
const STRIDE: usize = 8;

/// The words of the map's 64 bits no farther than so many from bit 0; XORing the place moves the centre.
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

/// A ball around bit `centre` instead of bit 0: swaps halves, quarters and so on where a bit of `centre` is set.
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

/// See the module.
#[derive(Debug)]
pub struct Bitmap {
    map: Vec<u64>,
    /// How many words come before every eighth of the map's.
    ranks: Vec<u32>,
    len: usize,
}

impl Bitmap {
    /// Of ascending words.
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

    /// How many words there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        8 * self.map.capacity() + 4 * self.ranks.capacity()
    }

    /// The place of a word.
    pub fn slot(&self, word: u64) -> Option<u32> {
        let (at, bit) = ((word >> LOW) as usize, word & 63);
        let bits = *self.map.get(at)?;
        (bits >> bit & 1 == 1).then(|| self.rank(at) + (bits & ((1 << bit) - 1)).count_ones())
    }

    /// How many words come before the `at`th of the map.
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

    /// Does the steps from `step` to `radius`: step `n` visits the words whose upper bits differ in `n` places. Where it is
    /// cheaper, all that is left is visited at once, and that is said.
    pub fn visit(
        &self,
        word: u64,
        step: u32,
        radius: u32,
        bound: u32,
        near: &mut Vec<Near>,
    ) -> bool {
        let all = radius >= NEIGHBOURS;
        look(self, word, step..=radius, all, bound, near);
        all
    }
}

/// Collects what is near behind the upper bits that differ in so many places, or in at least the fewest of these.
#[multiversion(targets("x86_64+bmi1+bmi2+popcnt"))]
fn look(
    bitmap: &Bitmap,
    word: u64,
    apart: RangeInclusive<u32>,
    all: bool,
    bound: u32,
    near: &mut Vec<Near>,
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
            near.push(Near::new(distance, found, (rank + before) as usize));
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

/// Words of the map that are read before any is looked at.
const BATCH: usize = 64;
/// Radii below this are searched by neighbours, others by reading the whole map.
const NEIGHBOURS: u32 = 6;

/// The differences of 18 bits in fewer than [`NEIGHBOURS`] places, by how many, and where each number's begin.
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
