//! Words of several fields of 16 bits, in one table a field: the rest of each word under the value of that field.
//! A search looks where a field is near, the fields in turn (multi-index hashing, Norouzi, Punjani and Fleet 2012).

use multiversion::multiversion;

use crate::memory::probe::{
    near::Near,
    scan::scan,
    table::{BUCKETS, Rest, Table},
};

/// Buckets that are looked up before the first is read, so that the processor waits for all of them at once.
const BATCH: usize = 32;

/// See the module. The first table is by the highest field, so that its rests are the words in ascending order.
#[derive(Debug)]
pub struct Tables<R> {
    tables: Vec<Table<R>>,
}

/// A bucket to be looked at.
#[derive(Clone, Copy, Default)]
struct Bucket {
    step: u8,
    apart: u8,
    field: u16,
    start: u32,
    end: u32,
}

impl<R: Rest> Tables<R> {
    /// Of ascending words of `fields` × 16 bits.
    pub fn new(fields: u32, words: &[u64]) -> Self {
        Tables {
            tables: (0..fields)
                .map(|at| Table::new(at, fields, words))
                .collect(),
        }
    }

    /// How many words there are.
    pub fn len(&self) -> usize {
        self.tables[0].len()
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.tables.iter().map(Table::bytes).sum()
    }

    /// The words, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        self.tables[0].iter()
    }

    /// The place of a word.
    pub fn slot(&self, word: u64) -> Option<u32> {
        let slots = self.tables[0].slots(word);
        (!slots.is_empty()).then_some(slots.start)
    }

    /// Does the steps from `step` to `radius`. Step `n` visits, in table `n mod fields`, the buckets whose field differs in
    /// `n / fields` bits, and there the words that no earlier step met. After `r + 1` steps nothing within `r` is left:
    /// were every field farther than its table has been searched, the word would be farther than `r` (the pigeonhole
    /// principle). Where it is cheaper, all that is left is visited at once, and that is said.
    pub fn visit(
        &self,
        word: u64,
        step: u32,
        radius: u32,
        bound: u32,
        near: &mut Vec<Near>,
    ) -> bool {
        let fields = self.tables.len() as u32;
        let bucket = |step: u32, mask: &u16| Bucket {
            step: step as u8,
            apart: mask.count_ones() as u8,
            field: self.table(step).split.field(word) as u16 ^ mask,
            ..Bucket::default()
        };
        if self.rest_is_cheaper(step, radius) {
            let left = MASKS.iter().map(|mask| bucket(0, mask));
            let left = left.take_while(|bucket| u32::from(bucket.apart) <= bound);
            self.look(left, word, bound, near, Some(step));
            return true;
        }
        let buckets = (step..=radius).flat_map(|step| {
            masks_of(step / fields)
                .iter()
                .map(move |mask| bucket(step, mask))
        });
        self.look(buckets, word, bound, near, None);
        false
    }

    fn table(&self, step: u32) -> &Table<R> {
        &self.tables[step as usize % self.tables.len()]
    }

    /// Collects what is near in some buckets; see [`look`].
    fn look(
        &self,
        mut buckets: impl Iterator<Item = Bucket>,
        word: u64,
        bound: u32,
        near: &mut Vec<Near>,
        all: Option<u32>,
    ) {
        let mut batch = [Bucket::default(); BATCH];
        loop {
            let mut count = 0;
            for (place, bucket) in batch.iter_mut().zip(&mut buckets) {
                *place = bucket;
                count += 1;
            }
            look(self, &mut batch[..count], word, bound, near, all);
            if count < BATCH {
                return;
            }
        }
    }

    /// Whether the steps up to `radius` would cost more than reading the first table through.
    fn rest_is_cheaper(&self, step: u32, radius: u32) -> bool {
        let fields = self.tables.len() as u32;
        let buckets: usize = (step..=radius)
            .map(|step| masks_of(step / fields).len())
            .sum();
        // A bucket out of order costs as much as some forty words in order.
        let each = 40 + self.len() / BUCKETS;
        buckets * each > BUCKETS * 4 + self.len()
    }
}

/// Collects what is near in some buckets, and was met by no step before the bucket's own, or before `all` where everything
/// that is left is visited.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512vl+avx512vpopcntdq+avx512bitalg+bmi2+popcnt",
    "x86_64+avx2+bmi2+popcnt",
    "x86_64+popcnt",
))]
fn look<R: Rest>(
    tables: &Tables<R>,
    batch: &mut [Bucket],
    word: u64,
    bound: u32,
    near: &mut Vec<Near>,
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
    let fields = tables.tables.len() as u32;
    for bucket in &*batch {
        let (step, apart) = (u32::from(bucket.step), u32::from(bucket.apart));
        let met = Met::before(all.unwrap_or(step), fields);
        let table = tables.table(step);
        let range = bucket.start as usize..bucket.end as usize;
        let rest = R::from_bits(table.split.rest(word));
        let most = bound - apart;
        scan(&table.rests, range, rest, most, |place, distance| {
            let rest = table.rests[place].bits();
            let other = table.split.join(bucket.field.into(), rest);
            if !met.has(other ^ word) {
                let slot = table.slots.get(place).map_or(place, |slot| *slot as usize);
                near.push(Near::new(apart + distance, other, slot));
            }
        });
    }
}

/// Which words were met by the steps before one.
struct Met {
    /// Of each field, the lowest first: a word was met where it differs in fewer places.
    below: [u32; 4],
}

impl Met {
    #[inline(always)]
    fn before(step: u32, fields: u32) -> Self {
        let (apart, table) = (step / fields, step % fields);
        // Of this round, the tables before this one have been searched; their fields are the higher ones.
        let below = |at: u32| match fields.checked_sub(at + 1) {
            Some(its) => apart + u32::from(its < table),
            None => 0,
        };
        Met {
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

/// All masks of 16 bits by how many of their bits are set, and where each number's begin: `MASKS[FIRST[n]..FIRST[n + 1]]`.
static MASKS: [u16; 1 << 16] = masks().0;

static FIRST: [usize; 18] = masks().1;

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

/// The masks of 16 bits of which `ones` are set.
fn masks_of(ones: u32) -> &'static [u16] {
    let ones = (ones as usize).min(17);
    &MASKS[FIRST[ones]..FIRST[(ones + 1).min(17)]]
}
