//! A sample of what passes by, each with one probability of being in it (Vitter's algorithm R), so that the rest needs no memory.
//! Knows nothing of what is sampled.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// At most so many of what passes by.
pub(crate) struct Sample<T> {
    pub taken: Vec<T>,
    most: usize,
    seen: usize,
    rng: ChaCha8Rng,
}

impl<T> Sample<T> {
    pub fn new(most: usize, seed: u64) -> Self {
        Sample {
            taken: Vec::new(),
            most,
            seen: 0,
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    pub fn offer(&mut self, one: T) {
        self.seen += 1;
        if self.taken.len() < self.most {
            self.taken.push(one);
        } else if let Some(place) = self.taken.get_mut(self.rng.random_range(0..self.seen)) {
            *place = one;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_as_likely_as_the_others() {
        let mut times = [0; 20];
        for seed in 0..2_000 {
            let mut sample = Sample::new(5, seed);
            (0..20).for_each(|one| sample.offer(one));
            assert_eq!(sample.taken.len(), 5);
            sample.taken.iter().for_each(|&one: &usize| times[one] += 1);
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
