//! The ranking of the database for one query, as counts per Hamming distance.

use scihcgrl_index::code::HashCode;

/// Number of possible distances between words.
const RINGS: usize = u64::BITS as usize + 1;

/// The images at one distance, or within one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Ring {
    /// Number of images.
    pub images: u32,
    /// Number of relevant images among them.
    pub relevant: u32,
}

impl Ring {
    fn and(self, other: &Ring) -> Ring {
        Ring {
            images: self.images + other.images,
            relevant: self.relevant + other.relevant,
        }
    }
}

/// The images at each distance from a query, and its average precision.
#[derive(Clone, Debug)]
pub(crate) struct Ranking {
    /// Images by distance.
    rings: [Ring; RINGS],
    /// Average precision in expectation over the orders within rings.
    pub ap: f64,
    /// Average precision if images within a ring keep the order of the database.
    pub ap_shuffled: f64,
}

impl Default for Ranking {
    fn default() -> Self {
        Ranking {
            rings: [Ring::default(); RINGS],
            ap: 0.0,
            ap_shuffled: 0.0,
        }
    }
}

/// A database that can be ranked for queries.
pub(crate) struct Ranker<'a> {
    /// Codes with the numbers of their label sets.
    database: Vec<(u64, usize)>,
    /// The classes of each set, then an empty set for images of unknown classes.
    sets: Vec<&'a [usize]>,
    /// Entry n is 1 + 1/2 + … + 1/n.
    harmonic: Vec<f64>,
}

impl<'a> Ranker<'a> {
    pub fn new(database: &[LabelledCode], sets: &'a [Vec<usize>]) -> Self {
        Ranker {
            database: database
                .iter()
                .map(|(code, set)| (code.word(), *set.min(&sets.len())))
                .collect(),
            sets: sets.iter().map(Vec::as_slice).chain([&[][..]]).collect(),
            harmonic: harmonic(database.len()),
        }
    }

    pub fn rank(&self, (code, set): &LabelledCode) -> Ranking {
        let word = code.word();
        let wanted = self.sets.get(*set).copied().unwrap_or_default();
        let relevant: Vec<bool> = self
            .sets
            .iter()
            .map(|set| set.iter().any(|class| wanted.contains(class)))
            .collect();
        let mut rings = [Ring::default(); RINGS];
        for (other, set) in &self.database {
            let ring = &mut rings[(word ^ other).count_ones() as usize];
            ring.images += 1;
            ring.relevant += u32::from(relevant[*set]);
        }
        let mut ranking = Ranking {
            rings,
            ..Ranking::default()
        };
        ranking.ap = average_precision(ranking.rings.into_iter(), &self.harmonic);
        ranking.ap_shuffled = ranking.in_order(self.database.iter().map(|(other, set)| {
            let distance = (word ^ other).count_ones() as usize;
            (distance, relevant[*set])
        }));
        ranking
    }
}

impl Ranking {
    /// Returns the images within a radius.
    pub fn within(&self, radius: usize) -> Ring {
        let rings = self.rings.iter().take(radius + 1);
        rings.fold(Ring::default(), Ring::and)
    }

    /// Returns the share of relevant images within a radius. Returns `None` if no image is within
    /// it.
    pub fn precision(&self, radius: usize) -> Option<f64> {
        let ball = self.within(radius);
        (ball.images > 0).then(|| f64::from(ball.relevant) / f64::from(ball.images))
    }

    /// Returns the share of the relevant images that are within a radius. Returns 0 if none is
    /// relevant.
    pub fn recall(&self, radius: usize) -> f64 {
        let all = self.within(RINGS).relevant.max(1);
        f64::from(self.within(radius).relevant) / f64::from(all)
    }

    /// Returns the share of relevant images among the first n (at least 1), in expectation over the
    /// orders within rings. Ranks beyond the end of the database count as not relevant.
    pub fn precision_at(&self, n: usize) -> f64 {
        let (mut left, mut found) = (n as f64, 0.0);
        for ring in self.rings.iter().filter(|ring| ring.images > 0) {
            let share = (left / f64::from(ring.images)).min(1.0);
            found += share * f64::from(ring.relevant);
            left -= share * f64::from(ring.images);
        }
        found / n as f64
    }

    /// Returns AP if the images of a ring keep the given order. Each image has its distance, and
    /// true if it is relevant. Nothing is sorted: the rank of an image is its ring's start plus the
    /// number of the ring's images so far.
    fn in_order(&self, images: impl Iterator<Item = (usize, bool)>) -> f64 {
        let mut ball = Ring::default();
        let mut so_far = self.rings.map(|ring| {
            let outer = ball.and(&ring);
            std::mem::replace(&mut ball, outer)
        });
        let mut total = 0.0;
        for (distance, relevant) in images {
            let place = &mut so_far[distance];
            place.images += 1;
            if relevant {
                place.relevant += 1;
                total += f64::from(place.relevant) / f64::from(place.images);
            }
        }
        total / f64::from(ball.relevant.max(1))
    }
}

/// Returns the harmonic numbers: entry n is 1 + 1/2 + … + 1/n, from 0 to `up_to`.
pub(crate) fn harmonic(up_to: usize) -> Vec<f64> {
    let mut sum = 0.0;
    let terms = (1..=up_to).map(|n| {
        sum += 1.0 / n as f64;
        sum
    });
    std::iter::once(0.0).chain(terms).collect()
}

/// AP = (1/R) Σ (R_i/i)·rel_i, its expectation over the orders within each ring (McSherry and
/// Najork, 2008), the nearest ring first. With b images and f relevant ones before a ring of n and
/// r, its expected term at rank i is (r/n)·(f + 1 + (i − b − 1)·p)/i for p = (r − 1)/(n − 1); over
/// the ring that sums to (r/n)·(n·p + (f + 1 − (b + 1)·p)·(H(b + n) − H(b))), H being `harmonic`.
pub(crate) fn average_precision(rings: impl Iterator<Item = Ring>, harmonic: &[f64]) -> f64 {
    let (mut before, mut found, mut total) = (0, 0.0, 0.0);
    for ring in rings.filter(|ring| ring.images > 0) {
        let (n, r) = (f64::from(ring.images), f64::from(ring.relevant));
        let end = before + ring.images as usize;
        if r > 0.0 {
            let pace = if n > 1.0 { (r - 1.0) / (n - 1.0) } else { 0.0 };
            let first = found + 1.0 - (before as f64 + 1.0) * pace;
            total += r / n * (n * pace + first * (harmonic[end] - harmonic[before]));
        }
        before = end;
        found += r;
    }
    if found > 0.0 { total / found } else { 0.0 }
}

/// A code, and the number of its image's label set.
pub type LabelledCode = (HashCode, usize);
