//! A random sample of a stream of items, in which each item is equally likely (Vitter's algorithm
//! R). Needs memory only for the sample.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// At most `limit` of the offered items.
pub(crate) struct Sample<T> {
    pub taken: Vec<T>,
    limit: usize,
    seen: usize,
    rng: ChaCha8Rng,
}

impl<T> Sample<T> {
    pub fn new(limit: usize, seed: u64) -> Self {
        Sample {
            taken: Vec::new(),
            limit,
            seen: 0,
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    pub fn offer(&mut self, item: T) {
        self.seen += 1;
        if self.taken.len() < self.limit {
            self.taken.push(item);
        } else if let Some(place) = self.taken.get_mut(self.rng.random_range(0..self.seen)) {
            *place = item;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_item_is_equally_likely_to_be_sampled() {
        let mut times = [0; 20];
        for seed in 0..2_000 {
            let mut sample = Sample::new(5, seed);
            (0..20).for_each(|item| sample.offer(item));
            assert_eq!(sample.taken.len(), 5);
            sample
                .taken
                .iter()
                .for_each(|&item: &usize| times[item] += 1);
        }
        // 500 each; the deviation is 19.
        assert!(
            times.iter().all(|times| (400..600).contains(times)),
            "{times:?}"
        );
        let mut none = Sample::new(0, 0);
        none.offer(1);
        assert!(none.taken.is_empty());
    }
}
