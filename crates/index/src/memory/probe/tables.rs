//! Words of several 16-bit fields, in one table per field, which has the rest of each word by the
//! value of that field. A search examines the buckets near the query's fields, field by field
//! (multi-index hashing, Norouzi, Punjani and Fleet 2012).

use multiversion::multiversion;

use crate::memory::probe::{
    near::NearWord,
    scan::scan,
    table::{BUCKETS, Rest, Table},
};

/// The number of buckets looked up before the first is read, so that their memory accesses overlap.
const BATCH: usize = 32;

/// A word set as one table per field. The first table is by the highest field, so its words are in
/// ascending order.
#[derive(Debug)]
pub struct Tables<R> {
    /// The number of fields.
    fields: u32,
    tables: Vec<Table<R>>,
}

/// A bucket to examine.
#[derive(Clone, Copy, Default)]
struct Bucket {
    step: u8,
    apart: u8,
    field: u16,
    start: u32,
    end: u32,
}

impl<R: Rest> Tables<R> {
    /// Builds the tables of ascending words of `fields` × 16 bits.
    pub fn new(fields: u32, words: &[u64]) -> Self {
        Tables {
            fields,
            tables: (0..fields)
                .map(|at| Table::new(at, fields, words))
                .collect(),
        }
    }

    /// The number of words.
    pub fn len(&self) -> usize {
        self.tables[0].len()
    }

    /// The memory that they take, in bytes.
    pub fn bytes(&self) -> usize {
        self.tables.iter().map(Table::bytes).sum()
    }

    /// The words, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        self.tables[0].iter()
    }

    /// The slot of a word, if the set has it.
    pub fn slot(&self, word: u64) -> Option<u32> {
        let slots = self.tables[0].slots(word);
        (!slots.is_empty()).then_some(slots.start)
    }

    /// Does the steps from `step` to `radius`. Step `n` visits, in table `n mod fields`, the
    /// buckets whose field differs in `n / fields` bits, and in them the words that no earlier step
    /// visited. After `r + 1` steps every word within `r` is visited: if a word differs more in
    /// every field than its table was searched, its distance is more than `r` (the pigeonhole
    /// principle). If it is cheaper, visits everything left at once and returns true.
    pub fn visit(
        &self,
        word: u64,
        step: u32,
        radius: u32,
        bound: u32,
        near: &mut Vec<NearWord>,
    ) -> bool {
        let fields = self.fields;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a step is at most 48, and a field has 16 bits"
        )]
        let bucket = |step: u32, mask: &u16| Bucket {
            step: step as u8,
            apart: mask.count_ones() as u8,
            field: self.table(step).split.field(word) as u16 ^ mask,
            ..Bucket::default()
        };
        if self.rest_is_cheaper(step, radius) {
            let left = MASKS.iter().map(|mask| bucket(0, mask));
            let left = left.take_while(|bucket| u32::from(bucket.apart) <= bound);
            self.collect_near(left, word, bound, near, Some(step));
            return true;
        }
        let buckets = (step..=radius).flat_map(|step| {
            masks_of(step / fields)
                .iter()
                .map(move |mask| bucket(step, mask))
        });
        self.collect_near(buckets, word, bound, near, None);
        false
    }

    fn table(&self, step: u32) -> &Table<R> {
        &self.tables[step as usize % self.tables.len()]
    }

    /// Collects the near words of some buckets; see [`collect_near`].
    fn collect_near(
        &self,
        mut buckets: impl Iterator<Item = Bucket>,
        word: u64,
        bound: u32,
        near: &mut Vec<NearWord>,
        all: Option<u32>,
    ) {
        let mut batch = [Bucket::default(); BATCH];
        loop {
            let mut count = 0;
            for (place, bucket) in batch.iter_mut().zip(&mut buckets) {
                *place = bucket;
                count += 1;
            }
            collect_near(self, &mut batch[..count], word, bound, near, all);
            if count < BATCH {
                return;
            }
        }
    }

    /// Returns true if the steps up to `radius` would cost more than reading the first table.
    fn rest_is_cheaper(&self, step: u32, radius: u32) -> bool {
        let buckets: usize = (step..=radius)
            .map(|step| masks_of(step / self.fields).len())
            .sum();
        // A random bucket costs as much as about forty sequential words.
        let each = 40 + self.len() / BUCKETS;
        buckets * each > BUCKETS * 4 + self.len()
    }
}

/// Collects the words of some buckets that are within `bound` and were not visited by a step before
/// the bucket's own, or before `all` if everything left is visited.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512vl+avx512vpopcntdq+avx512bitalg+bmi2+popcnt",
    "x86_64+avx2+bmi2+popcnt",
    "x86_64+popcnt",
))]
fn collect_near<R: Rest>(
    tables: &Tables<R>,
    batch: &mut [Bucket],
    word: u64,
    bound: u32,
    near: &mut Vec<NearWord>,
    all: Option<u32>,
) {
    for bucket in &mut *batch {
        let starts = &tables.table(bucket.step.into()).starts;
        let field = usize::from(bucket.field);
        (bucket.start, bucket.end) = (starts[field], starts[field + 1]);
    }
    for bucket in &*batch {
        let rests = &tables.table(bucket.step.into()).rests;
        std::hint::black_box(rests.get(bucket.start as usize).copied());
        std::hint::black_box(rests.get(bucket.end as usize).copied());
    }
    let fields = tables.fields;
    for bucket in &*batch {
        let (step, apart) = (u32::from(bucket.step), u32::from(bucket.apart));
        let visited = Visited::before(all.unwrap_or(step), fields);
        let table = tables.table(step);
        let range = bucket.start as usize..bucket.end as usize;
        let rest = R::from_bits(table.split.rest(word));
        let max_distance = bound - apart;
        scan(
            &table.rests,
            range,
            rest,
            max_distance,
            |place, distance| {
                let rest = table.rests[place].bits();
                let other = table.split.join(bucket.field.into(), rest);
                if !visited.has(other ^ word) {
                    let slot = table.slots.get(place).map_or(place, |slot| *slot as usize);
                    near.push(NearWord::new(apart + distance, other, slot));
                }
            },
        );
    }
}

/// The words visited by the steps before one.
struct Visited {
    /// For each field, the lowest first: words that differ in fewer bits were visited.
    below: [u32; 4],
}

impl Visited {
    #[inline(always)]
    fn before(step: u32, fields: u32) -> Self {
        let (apart, table) = (step / fields, step % fields);
        // In this round, the tables before this one have been searched; their fields are the higher
        // ones.
        let below = |at: u32| match fields.checked_sub(at + 1) {
            Some(its) => apart + u32::from(its < table),
            None => 0,
        };
        Visited {
            below: [0, 1, 2, 3].map(below),
        }
    }

    #[inline(always)]
    fn has(&self, difference: u64) -> bool {
        let places = [0, 16, 32, 48].map(|shift| (difference >> shift & 0xffff).count_ones());
        places[0] < self.below[0]
            || places[1] < self.below[1]
            || places[2] < self.below[2]
            || places[3] < self.below[3]
    }
}

/// All 16-bit masks by number of set bits, and the start of each group: `MASKS[FIRST[n]..FIRST[n +
/// 1]]`.
static MASKS: [u16; 1 << 16] = masks().0;

static FIRST: [usize; 18] = masks().1;

#[expect(clippy::cast_possible_truncation, reason = "a mask is below 2^16")]
const fn masks() -> ([u16; 1 << 16], [usize; 18]) {
    let (mut masks, mut first) = ([0; 1 << 16], [0; 18]);
    let mut mask = 0u32;
    while mask < 1 << 16 {
        first[mask.count_ones() as usize + 1] += 1;
        mask += 1;
    }
    let mut ones = 0;
    while ones < 17 {
        first[ones + 1] += first[ones];
        ones += 1;
    }
    let mut next = first;
    mask = 0;
    while mask < 1 << 16 {
        let ones = mask.count_ones() as usize;
        masks[next[ones]] = mask as u16;
        next[ones] += 1;
        mask += 1;
    }
    (masks, first)
}

/// The 16-bit masks with `ones` set bits.
fn masks_of(ones: u32) -> &'static [u16] {
    let ones = (ones as usize).min(17);
    &MASKS[FIRST[ones]..FIRST[(ones + 1).min(17)]]
}
