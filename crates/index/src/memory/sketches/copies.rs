//! Finds the groups of copies in a set of sketches.

use std::cmp::Reverse;

use multiversion::multiversion;

use crate::{
    memory::sketches::{set::SketchSet, tables::Tables},
    types::sketch,
};

/// The number of sketches between two calls of `keep_going`.
const CHECK_EVERY: usize = 64;

/// The method of finding copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopySearch {
    /// Compares every pair. Misses none, and takes quadratic time.
    Exact,
    /// Compares the pairs that tables of random projections find. Misses one in a hundred of the
    /// pairs at the minimum similarity, and fewer of the more similar ones.
    Tables,
}

impl CopySearch {
    /// Maximum number of sketches for [`Exact`](Self::Exact), which then takes seconds.
    pub const MAX_EXACT: usize = 20_000;

    /// Chooses the method for a number of sketches.
    pub fn for_count(sketches: usize) -> Self {
        if sketches <= Self::MAX_EXACT {
            CopySearch::Exact
        } else {
            CopySearch::Tables
        }
    }
}

/// Groups of sequence numbers, each group in order of age.
pub type Groups = Vec<Vec<u32>>;

/// The images that have a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundCopies {
    /// The groups of copies, the largest first, then by age. A group is its oldest image and all
    /// younger ones that are similar enough to it and not in the group of an older one, so no image
    /// is in two groups.
    pub groups: Groups,
    /// The images in no group that are similar enough to an image in one, by age. Without some
    /// images of groups, they would be in groups themselves.
    pub others: Vec<u32>,
}

impl SketchSet {
    /// Returns the images that are at least `min_similarity` to another one. `keep_going` receives
    /// the number of images done. If it returns false, the search stops and returns `None`.
    pub fn copies(
        &self,
        min_similarity: f32,
        search: CopySearch,
        keep_going: &mut dyn FnMut(usize) -> bool,
    ) -> Option<FoundCopies> {
        let mut finder = Finder::new(self, min_similarity, search, &mut || keep_going(0))?;
        let none = vec![false; self.len()];
        // True for images in groups, and for images that are similar to another one.
        let (mut grouped, mut similar) = (none.clone(), none.clone());
        let mut groups = Groups::new();
        for at in 0..self.len() {
            if at.is_multiple_of(CHECK_EVERY) && !keep_going(at) {
                return None;
            }
            if grouped[at] {
                for &place in finder.copies(at, &similar) {
                    similar[place as usize] = true;
                }
                continue;
            }
            let mut group = Vec::new();
            for &place in finder.copies(at, &none) {
                similar[at] = true;
                if !std::mem::replace(&mut grouped[place as usize], true) {
                    similar[place as usize] = true;
                    group.push(self.sequences[place as usize]);
                }
            }
            if !group.is_empty() {
                grouped[at] = true;
                group.insert(0, self.sequences[at]);
                groups.push(group);
            }
        }
        groups.sort_by_key(|group| Reverse(group.len()));
        let places = (0..self.len()).filter(|&place| similar[place] && !grouped[place]);
        Some(FoundCopies {
            groups,
            others: places.map(|place| self.sequences[place]).collect(),
        })
    }

    /// Returns the number of pairs found that are at least this similar.
    pub fn count_pairs(&self, min_similarity: f32, search: CopySearch) -> u64 {
        let none = vec![false; self.len()];
        let finder = Finder::new(self, min_similarity, search, &mut || true);
        finder.map_or(0, |mut finder| {
            let pairs = (0..self.len()).map(|at| finder.copies(at, &none).len() as u64);
            pairs.sum()
        })
    }
}

/// Finds the copies of one sketch at a time.
struct Finder<'a> {
    set: &'a SketchSet,
    min_similarity: f32,
    tables: Option<Tables>,
    /// The indices to compare, and those of copies.
    near: Vec<u32>,
    copies: Vec<u32>,
}

impl<'a> Finder<'a> {
    fn new(
        set: &'a SketchSet,
        min_similarity: f32,
        search: CopySearch,
        keep_going: &mut dyn FnMut() -> bool,
    ) -> Option<Self> {
        let tables = match search {
            CopySearch::Exact => None,
            CopySearch::Tables => Some(Tables::new(set, min_similarity, keep_going)?),
        };
        Some(Finder {
            set,
            min_similarity,
            tables,
            near: Vec::new(),
            copies: Vec::new(),
        })
    }

    /// Returns the indices of the copies of the sketch at an index: those after it, ascending, that
    /// are not taken.
    fn copies(&mut self, at: usize, taken: &[bool]) -> &[u32] {
        self.copies.clear();
        self.near.clear();
        match &mut self.tables {
            Some(tables) => tables.after(at, taken, &mut self.near),
            None => {
                let free = |place: &u32| !taken[*place as usize];
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "sequence numbers, and so indices, are u32"
                )]
                let after = at as u32 + 1..self.set.len() as u32;
                self.near.extend(after.filter(free));
            }
        }
        push_similar(
            self.set,
            at,
            &self.near,
            self.min_similarity,
            &mut self.copies,
        );
        self.copies.sort_unstable();
        &self.copies
    }
}

/// Adds the indices whose sketches are at least this similar to the one at an index.
#[multiversion(targets("x86_64+avx2"))]
fn push_similar(
    set: &SketchSet,
    at: usize,
    places: &[u32],
    min_similarity: f32,
    into: &mut Vec<u32>,
) {
    let (sketch, inverse) = (set.of(at), set.inverses[at]);
    for &place in places {
        let other = place as usize;
        let products = sketch.iter().zip(set.of(other));
        let dot: i32 = products.map(|(&a, &b)| i32::from(a) * i32::from(b)).sum();
        // An estimate first: a division and a root for every pair would take as long as the
        // products.
        let roughly = dot as f32 * inverse * set.inverses[other];
        if roughly > min_similarity - 1e-4
            && sketch::cosine(dot, set.squares[at], set.squares[other]) >= min_similarity
        {
            into.push(place);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_possible_truncation, reason = "small or arbitrary values")]

    use super::*;
    use crate::Sketch;
    use proptest::prelude::*;

    /// The groups among the images at some indices, straight from the definition.
    fn plain(sketches: &[Sketch], min_similarity: f32, among: impl Fn(usize) -> bool) -> Groups {
        let (mut taken, mut groups) = (vec![false; sketches.len()], Groups::new());
        for (at, oldest) in sketches.iter().enumerate().filter(|(at, _)| among(*at)) {
            let copies = (at + 1..sketches.len())
                .filter(|&other| among(other) && !taken[at] && !taken[other])
                .filter(|&other| oldest.similarity(&sketches[other]) >= min_similarity);
            let copies: Vec<usize> = copies.collect();
            copies.iter().for_each(|&copy| taken[copy] = true);
            if !copies.is_empty() {
                groups.push(
                    [at].into_iter()
                        .chain(copies)
                        .map(|at| 3 * at as u32)
                        .collect(),
                );
            }
        }
        groups.sort_by_key(|group| Reverse(group.len()));
        groups
    }

    fn set(sketches: &[Sketch]) -> SketchSet {
        let mut set = SketchSet::new(sketches.first().map_or(1, |first| first.values().len()));
        for (at, sketch) in (0..).zip(sketches) {
            set.push(3 * at, sketch.values().iter().copied());
        }
        set
    }

    proptest! {
        #[test]
        fn groups_match_the_definition(
            values in prop::collection::vec(prop::collection::vec(-2i8..=2, 4), 0..60), min_similarity in 0.5f32..=1.0,
        ) {
            let sketches: Vec<Sketch> = values.into_iter().map(|values| Sketch::from_values(values).unwrap()).collect();
            let search = |set: SketchSet| set.copies(min_similarity, CopySearch::Exact, &mut |_| true).unwrap();
            let found = search(set(&sketches));
            prop_assert_eq!(&found.groups, &plain(&sketches, min_similarity, |_| true));
            // The groups among some images are found among the images that have a copy.
            let mut linked: Vec<u32> = found.groups.concat();
            linked.extend(&found.others);
            linked.sort_unstable();
            let mut some = SketchSet::new(4);
            for sequence in linked.into_iter().filter(|sequence| !(sequence / 3).is_multiple_of(3)) {
                some.push(sequence, sketches[sequence as usize / 3].values().iter().copied());
            }
            let expected = plain(&sketches, min_similarity, |at| !at.is_multiple_of(3));
            prop_assert_eq!(search(some).groups, expected);
        }

        #[test]
        fn tables_find_only_true_pairs_and_nearly_all(
            seeds in prop::collection::vec((0u8..20, prop::collection::vec(-20i8..=20, 48)), 0..80), min_similarity in 0.75f32..0.99,
        ) {
            // Vectors around a few distant centres, at all distances.
            let of = |(seed, noise): (u8, Vec<i8>)| {
                let values = noise.iter().enumerate().map(|(at, noise)| {
                    let bit = (u32::from(seed) + 1).wrapping_mul(2_654_435_761).rotate_left(at as u32) & 1;
                    noise + if bit == 0 { 30 } else { -30 }
                });
                Sketch::from_values(values.collect()).unwrap()
            };
            let sketches: Vec<Sketch> = seeds.into_iter().map(of).collect();
            let set = set(&sketches);
            let [found, all] = [CopySearch::Tables, CopySearch::Exact].map(|search| set.count_pairs(min_similarity, search));
            prop_assert!(found <= all && found as f64 >= 0.9 * all as f64 - 2.0, "{} of {}", found, all);
        }
    }

    #[test]
    fn a_search_stops_if_keep_going_returns_false() {
        let one = Sketch::from_values(vec![1, 2]).unwrap();
        let set = set(&vec![one; 1000]);
        for search in [CopySearch::Exact, CopySearch::Tables] {
            let mut left = 3;
            let mut keep_going = |_| {
                left -= 1;
                left > 0
            };
            assert_eq!(set.copies(0.9, search, &mut keep_going), None);
            let groups = set.copies(0.9, search, &mut |_| true).unwrap().groups;
            assert_eq!((groups.len(), groups[0].len()), (1, 1000));
        }
    }

    #[test]
    fn a_sketch_of_zeros_is_in_no_group() {
        let zeros = Sketch::from_values(vec![0, 0]).unwrap();
        assert!(set(&[zeros.clone(), zeros]).is_empty());
    }
}
