//! Sketches in memory, one after the other by age, and the groups of copies among them.
//! Knows sequence numbers and similarities; neither where sketches come from nor what a group is shown as.

use std::cmp::Reverse;

use multiversion::multiversion;

use crate::{
    memory::sketches::{set::SketchSet, tables::Tables},
    types::sketch,
};

/// How many sketches are looked at between two questions whether to go on.
const STEP: usize = 64;

/// How the copies of an image are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// Each pair is compared: none is missed, and the time grows with the square of how many there are.
    Exact,
    /// Pairs are compared that tables of random projections find: of pairs at the least similarity one in a hundred is missed, and of more
    /// similar ones fewer.
    Tables,
}

impl Search {
    /// Up to so many sketches all pairs are compared, which takes seconds.
    pub const EXACT: usize = 20_000;

    /// What suits so many sketches.
    pub fn suiting(sketches: usize) -> Self {
        match sketches <= Self::EXACT {
            true => Search::Exact,
            false => Search::Tables,
        }
    }
}

/// Groups of sequence numbers, each with the oldest first and then by age.
pub type Groups = Vec<Vec<u32>>;

impl SketchSet {
    /// The groups of copies, the largest first, then by age. A group is its oldest image and all younger ones that are at least so similar to
    /// that and in no group of an older one; so no image is in two. `go_on` receives how many images are done. If it returns false, the search
    /// stops and returns `None`.
    pub fn groups(
        &self,
        least: f32,
        search: Search,
        go_on: &mut dyn FnMut(usize) -> bool,
    ) -> Option<Groups> {
        let mut finder = Finder::new(self, least, search, &mut || go_on(0))?;
        let (mut taken, mut groups) = (vec![false; self.len()], Groups::new());
        for at in 0..self.len() {
            if at.is_multiple_of(STEP) && !go_on(at) {
                return None;
            }
            if taken[at] {
                continue;
            }
            let copies = finder.copies(at, &taken);
            if copies.is_empty() {
                continue;
            }
            copies
                .iter()
                .for_each(|&place| taken[place as usize] = true);
            let places = [at as u32].into_iter().chain(copies.iter().copied());
            groups.push(places.map(|place| self.sequences[place as usize]).collect());
        }
        groups.sort_by_key(|group| Reverse(group.len()));
        Some(groups)
    }

    /// How many pairs of all sketches are found that are at least so similar.
    pub fn pairs(&self, least: f32, search: Search) -> u64 {
        let none = vec![false; self.len()];
        let finder = Finder::new(self, least, search, &mut || true);
        finder.map_or(0, |mut finder| {
            let pairs = (0..self.len()).map(|at| finder.copies(at, &none).len() as u64);
            pairs.sum()
        })
    }
}

/// Finds the copies of one sketch after the other.
struct Finder<'a> {
    set: &'a SketchSet,
    least: f32,
    tables: Option<Tables>,
    /// Places to compare, and those of copies.
    near: Vec<u32>,
    copies: Vec<u32>,
}

impl<'a> Finder<'a> {
    fn new(
        set: &'a SketchSet,
        least: f32,
        search: Search,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Option<Self> {
        let tables = match search {
            Search::Exact => None,
            Search::Tables => Some(Tables::new(set, least, go_on)?),
        };
        Some(Finder {
            set,
            least,
            tables,
            near: Vec::new(),
            copies: Vec::new(),
        })
    }

    /// The places of the copies of the sketch at a place that come after it, ascending, but for those that are taken.
    fn copies(&mut self, at: usize, taken: &[bool]) -> &[u32] {
        self.copies.clear();
        self.near.clear();
        match &mut self.tables {
            Some(tables) => tables.after(at, taken, &mut self.near),
            None => {
                let free = |place: &u32| !taken[*place as usize];
                let after = at as u32 + 1..self.set.len() as u32;
                self.near.extend(after.filter(free));
            }
        }
        alike(self.set, at, &self.near, self.least, &mut self.copies);
        self.copies.sort_unstable();
        &self.copies
    }
}

/// Adds those places whose sketches are at least so similar to the one at a place.
#[multiversion(targets("x86_64+avx2"))]
fn alike(set: &SketchSet, at: usize, places: &[u32], least: f32, into: &mut Vec<u32>) {
    let (sketch, inverse) = (set.of(at), set.inverses[at]);
    for &place in places {
        let other = place as usize;
        let products = sketch.iter().zip(set.of(other));
        let dot: i32 = products.map(|(&a, &b)| i32::from(a) * i32::from(b)).sum();
        // A division and a root for every pair would take as long as the products.
        let roughly = dot as f32 * inverse * set.inverses[other];
        if roughly > least - 1e-4
            && sketch::cosine(dot, set.squares[at], set.squares[other]) >= least
        {
            into.push(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sketch;
    use proptest::prelude::*;

    /// As the definition says it.
    fn plain(sketches: &[Sketch], least: f32) -> Groups {
        let (mut taken, mut groups) = (vec![false; sketches.len()], Groups::new());
        for (at, oldest) in sketches.iter().enumerate() {
            let copies = (at + 1..sketches.len())
                .filter(|&other| !taken[at] && !taken[other])
                .filter(|&other| oldest.similarity(&sketches[other]) >= least);
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
        fn groups_are_as_the_definition_says(
            values in prop::collection::vec(prop::collection::vec(-2i8..=2, 4), 0..60), least in 0.5f32..=1.0,
        ) {
            let sketches: Vec<Sketch> = values.into_iter().map(|values| Sketch::from_values(values).unwrap()).collect();
            let groups = set(&sketches).groups(least, Search::Exact, &mut |_| true);
            prop_assert_eq!(groups.unwrap(), plain(&sketches, least));
        }

        #[test]
        fn tables_find_no_pair_that_is_none_and_few_less(
            seeds in prop::collection::vec((0u8..20, prop::collection::vec(-20i8..=20, 48)), 0..80), least in 0.75f32..0.99,
        ) {
            // Around a few vectors that are far from each other, at all distances.
            let of = |(seed, noise): (u8, Vec<i8>)| {
                let values = noise.iter().enumerate().map(|(at, noise)| {
                    let bit = (u32::from(seed) + 1).wrapping_mul(2_654_435_761).rotate_left(at as u32) & 1;
                    noise + if bit == 0 { 30 } else { -30 }
                });
                Sketch::from_values(values.collect()).unwrap()
            };
            let sketches: Vec<Sketch> = seeds.into_iter().map(of).collect();
            let set = set(&sketches);
            let [found, all] = [Search::Tables, Search::Exact].map(|search| set.pairs(least, search));
            prop_assert!(found <= all && found as f64 >= 0.9 * all as f64 - 2.0, "{} of {}", found, all);
        }
    }

    #[test]
    fn it_stops_when_it_is_told_to() {
        let one = Sketch::from_values(vec![1, 2]).unwrap();
        let set = set(&vec![one; 1000]);
        for search in [Search::Exact, Search::Tables] {
            let mut left = 3;
            let mut go_on = |_| {
                left -= 1;
                left > 0
            };
            assert_eq!(set.groups(0.9, search, &mut go_on), None);
            let groups = set.groups(0.9, search, &mut |_| true).unwrap();
            assert_eq!((groups.len(), groups[0].len()), (1, 1000));
        }
    }

    #[test]
    fn a_sketch_of_zeros_is_in_no_group() {
        let zeros = Sketch::from_values(vec![0, 0]).unwrap();
        assert!(set(&[zeros.clone(), zeros]).is_empty());
    }
}
