//! Tables that find candidates for similar sketches: the signs of random projections, in fields of
//! 16 bits.

use multiversion::multiversion;

use crate::memory::sketches::set::SketchSet;

/// The number of bits of a field. A table is sorted by its field.
const FIELD_BITS: u32 = 16;
/// The number of bits of the word that preselects the sketches to compare.
const WORD_BITS: u32 = 64;
/// The share of pairs at the minimum similarity that the tables may miss. More similar pairs are
/// missed less often.
const MISS_RATE: f64 = 0.01;
/// Maximum number of tables. It is enough for similarities of 0.7 and above; below that more
/// pairs are missed.
const MAX_TABLES: usize = 64;

/// Tables over the sketches of a set. Two sketches at an angle of θ differ in each sign with
/// probability θ/π, for any sketches. A table finds a pair whose fields differ in at most one bit,
/// so a few independent tables find nearly all similar pairs.
pub struct Tables {
    tables: Vec<Table>,
    /// Another word of signs of each sketch.
    words: Vec<u64>,
    /// Maximum number of differing bits in these words for a pair to be compared.
    max_differing: u32,
    /// For each sketch, the index plus 1 of the sketch that found it last. It keeps a pair from
    /// being returned twice.
    found_by: Vec<u32>,
}

struct Table {
    /// The field of each sketch.
    fields: Vec<u16>,
    /// The start of each field's sketches in `sorted`, and the end of the last.
    starts: Vec<u32>,
    /// The indices of all sketches by field, then age.
    sorted: Vec<u32>,
}

impl Tables {
    /// Builds the tables for pairs of at least this similarity; returns `None` if `keep_going`
    /// returns false.
    pub fn new(
        set: &SketchSet,
        min_similarity: f32,
        keep_going: &mut dyn FnMut() -> bool,
    ) -> Option<Self> {
        let (count, max_differing) = parameters(min_similarity);
        let mut random = Random(0x5c1_4c91);
        let words = signs(set, WORD_BITS, &mut random);
        let mut tables = Vec::new();
        for _ in 0..count {
            if !keep_going() {
                return None;
            }
            let fields = signs(set, FIELD_BITS, &mut random);
            #[expect(clippy::cast_possible_truncation, reason = "a field has 16 bits")]
            let fields = fields.into_iter().map(|field| field as u16).collect();
            tables.push(Table::new(fields));
        }
        Some(Tables {
            tables,
            words,
            max_differing,
            found_by: vec![0; set.len()],
        })
    }

    /// Adds the indices of sketches after `at` that may be similar to the one there, unordered,
    /// except the skipped ones.
    pub fn after(&mut self, at: usize, skipped: &[bool], into: &mut Vec<u32>) {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "sequence numbers, and so indices, are u32"
        )]
        let finder = at as u32 + 1;
        for table in &self.tables {
            let field = table.fields[at];
            let near = (0..FIELD_BITS).map(|bit| field ^ (1 << bit));
            for field in near.chain([field]) {
                let field = usize::from(field);
                let range = table.starts[field] as usize..table.starts[field + 1] as usize;
                let places = &table.sorted[range];
                let younger = &places[places.partition_point(|&place| place as usize <= at)..];
                let first = into.len();
                close(
                    younger,
                    &self.words,
                    self.words[at],
                    self.max_differing,
                    into,
                );
                let mut kept = first;
                for next in first..into.len() {
                    let index = into[next];
                    let place = index as usize;
                    if !skipped[place] && self.found_by[place] != finder {
                        self.found_by[place] = finder;
                        into[kept] = index;
                        kept += 1;
                    }
                }
                into.truncate(kept);
            }
        }
    }
}

impl Table {
    fn new(fields: Vec<u16>) -> Self {
        let mut starts = vec![0; (1 << FIELD_BITS) + 1];
        for &field in &fields {
            starts[usize::from(field) + 1] += 1;
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let (mut next, mut sorted) = (starts.clone(), vec![0; fields.len()]);
        for (place, &field) in (0..).zip(&fields) {
            let at = &mut next[usize::from(field)];
            sorted[*at as usize] = place;
            *at += 1;
        }
        Table {
            fields,
            starts,
            sorted,
        }
    }
}

/// Adds the indices whose words differ from `word` in at most `max_differing` bits.
#[multiversion(targets("x86_64+popcnt"))]
fn close(places: &[u32], words: &[u64], word: u64, max_differing: u32, into: &mut Vec<u32>) {
    for &place in places {
        if (words[place as usize] ^ word).count_ones() <= max_differing {
            into.push(place);
        }
    }
}

/// The signs of `bits` random projections of each sketch, as bits.
fn signs(set: &SketchSet, bits: u32, random: &mut Random) -> Vec<u64> {
    let planes: Vec<Vec<i8>> = (0..bits)
        .map(|_| (0..set.width()).map(|_| random.normal()).collect())
        .collect();
    let mut signs = vec![0; set.len()];
    for (place, signs) in signs.iter_mut().enumerate() {
        for (bit, plane) in planes.iter().enumerate() {
            *signs |= u64::from(set.dot(place, plane) > 0) << bit;
        }
    }
    signs
}

/// Returns the number of tables that find all but [`MISS_RATE`] of the pairs at a similarity, and
/// the maximum number of bits in which such a pair's words may differ.
fn parameters(min_similarity: f32) -> (usize, u32) {
    let differ = f64::from(min_similarity.clamp(-1.0, 1.0)).acos() / std::f64::consts::PI;
    let differ = differ.clamp(0.001, 0.5);
    let found: f64 = (0..=1).map(|bits| share(FIELD_BITS, bits, differ)).sum();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and `as` caps it at the largest number"
    )]
    let tables = (MISS_RATE.ln() / (1.0 - found).ln()).ceil() as usize;
    let mut within = 0.0;
    let max_differing = (0..WORD_BITS).find(|&bits| {
        within += share(WORD_BITS, bits, differ);
        within >= 1.0 - MISS_RATE / 4.0
    });
    (
        tables.clamp(1, MAX_TABLES),
        max_differing.unwrap_or(WORD_BITS),
    )
}

/// The probability that exactly `differing` of `bits` bits differ, if each differs with
/// `probability`.
#[expect(clippy::cast_possible_wrap, reason = "`bits` is at most 64")]
fn share(bits: u32, differing: u32, probability: f64) -> f64 {
    let ways = (0..differing).map(|one| f64::from(bits - one) / f64::from(one + 1));
    let same = (1.0 - probability).powi((bits - differing) as i32);
    ways.product::<f64>() * probability.powi(differing as i32) * same
}

/// A deterministic random number generator (SplitMix64).
struct Random(u64);

impl Random {
    /// An approximately normal number with a standard deviation of 4.
    #[expect(clippy::cast_possible_truncation, reason = "at most 64 bits are set")]
    fn normal(&mut self) -> i8 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ bits >> 31).count_ones() as i8 - 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_similar_pairs_need_fewer_tables() {
        let tables =
            [1.0, 0.95, 0.9, 0.8, 0.7, 0.0].map(|min_similarity| parameters(min_similarity).0);
        assert!(tables.is_sorted(), "{tables:?}");
        assert_eq!((tables[0], tables[5]), (1, MAX_TABLES));
        assert!(tables[4] <= MAX_TABLES && tables[1] < 10, "{tables:?}");
        let all: f64 = (0..=WORD_BITS)
            .map(|bits| share(WORD_BITS, bits, 0.3))
            .sum();
        assert!((all - 1.0).abs() < 1e-9);
    }
}
