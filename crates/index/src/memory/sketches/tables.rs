//! Tables that find the sketches near one without comparing all: the signs of random projections, in fields of 16.
//! Knows how many tables a similarity needs; compares no sketches itself.

use multiversion::multiversion;

use crate::memory::sketches::set::SketchSet;

/// Bits of a field, by which a table is sorted.
const FIELD: u32 = 16;
/// Bits of the word that decides which of a table's sketches are compared.
const WORD: u32 = 64;
/// The share of pairs at the least similarity that the tables may miss. More similar pairs are missed more rarely.
const MISSED: f64 = 0.01;
/// The most tables. They are enough from a similarity of .7 on; below that more pairs are missed.
const MOST: usize = 64;

/// Tables over the sketches of a set. Two sketches at an angle of θ differ in each sign with probability θ/π, whatever made them. A table finds a pair whose fields
/// differ in at most one bit, so a few independent tables find nearly all pairs that are alike.
pub struct Tables {
    tables: Vec<Table>,
    /// More signs of each sketch.
    words: Vec<u64>,
    /// In how many of these two sketches may differ to be compared.
    most: u32,
    /// For each sketch, the number of the one that found it last, counted from 1. It keeps a pair from being returned twice.
    found_by: Vec<u32>,
}

struct Table {
    /// The field of each sketch.
    fields: Vec<u16>,
    /// Where the sketches of each field begin in `sorted`, and where the last end.
    starts: Vec<u32>,
    /// The places of all sketches by field, then age.
    sorted: Vec<u32>,
}

impl Tables {
    /// Of a set, for pairs that are at least so similar; none if `go_on` says to stop.
    pub fn new(set: &SketchSet, least: f32, go_on: &mut dyn FnMut() -> bool) -> Option<Self> {
        let (count, most) = suited(least);
        let mut random = Random(0x5c1_4c91);
        let words = signs(set, WORD, &mut random);
        let mut tables = Vec::new();
        for _ in 0..count {
            if !go_on() {
                return None;
            }
            let fields = signs(set, FIELD, &mut random);
            tables.push(Table::new(
                fields.into_iter().map(|field| field as u16).collect(),
            ));
        }
        Some(Tables {
            tables,
            words,
            most,
            found_by: vec![0; set.len()],
        })
    }

    /// Adds the places of sketches after `at` that may be like the one there, in no order, but for those that are passed over.
    pub fn after(&mut self, at: usize, passed_over: &[bool], into: &mut Vec<u32>) {
        for table in &self.tables {
            let field = table.fields[at];
            let near = (0..FIELD).map(|bit| field ^ (1 << bit));
            for field in near.chain([field]) {
                let field = usize::from(field);
                let range = table.starts[field] as usize..table.starts[field + 1] as usize;
                let places = &table.sorted[range];
                let younger = &places[places.partition_point(|&place| place as usize <= at)..];
                let first = into.len();
                close(younger, &self.words, self.words[at], self.most, into);
                let mut kept = first;
                for next in first..into.len() {
                    let place = into[next] as usize;
                    if !passed_over[place] && self.found_by[place] != at as u32 + 1 {
                        self.found_by[place] = at as u32 + 1;
                        into[kept] = place as u32;
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
        let mut starts = vec![0; (1 << FIELD) + 1];
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

/// Adds those places whose words differ from one in at most so many bits.
#[multiversion(targets("x86_64+popcnt"))]
fn close(places: &[u32], words: &[u64], word: u64, most: u32, into: &mut Vec<u32>) {
    for &place in places {
        if (words[place as usize] ^ word).count_ones() <= most {
            into.push(place);
        }
    }
}

/// The signs of so many random projections of each sketch, as bits.
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

/// How many tables find all but [`MISSED`] of the pairs at a similarity, and in how many bits of a word such a pair may differ.
fn suited(least: f32) -> (usize, u32) {
    let differ = f64::from(least.clamp(-1.0, 1.0)).acos() / std::f64::consts::PI;
    let differ = differ.clamp(0.001, 0.5);
    let found: f64 = (0..=1).map(|bits| share(FIELD, bits, differ)).sum();
    let tables = (MISSED.ln() / (1.0 - found).ln()).ceil() as usize;
    let mut within = 0.0;
    let most = (0..WORD).find(|&bits| {
        within += share(WORD, bits, differ);
        within >= 1.0 - MISSED / 4.0
    });
    (tables.clamp(1, MOST), most.unwrap_or(WORD))
}

/// The share of pairs that differ in exactly so many of some bits, each with a probability.
fn share(bits: u32, differing: u32, probability: f64) -> f64 {
    let ways = (0..differing).map(|one| f64::from(bits - one) / f64::from(one + 1));
    let same = (1.0 - probability).powi((bits - differing) as i32);
    ways.product::<f64>() * probability.powi(differing as i32) * same
}

/// Numbers that look random and are the same every time (SplitMix64).
struct Random(u64);

impl Random {
    /// About normally distributed, with a standard deviation of 4.
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
    fn fewer_tables_do_for_more_similar_pairs() {
        let tables = [1.0, 0.95, 0.9, 0.8, 0.7, 0.0].map(|least| suited(least).0);
        assert!(tables.is_sorted(), "{tables:?}");
        assert_eq!((tables[0], tables[5]), (1, MOST));
        assert!(tables[4] <= MOST && tables[1] < 10, "{tables:?}");
        let all: f64 = (0..=WORD).map(|bits| share(WORD, bits, 0.3)).sum();
        assert!((all - 1.0).abs() < 1e-9);
    }
}
