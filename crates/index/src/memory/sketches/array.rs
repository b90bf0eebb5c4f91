//! The sketches of a generation in memory, by sequence number. Immutable, so that readers share
//! them without a lock; a change makes a new array that shares everything unchanged.

use std::sync::Arc;

use multiversion::multiversion;

use crate::types::sketch::{Sketch, cosine, product, square};

/// The number of sequence numbers in a chunk. A change copies one chunk.
const CHUNK: usize = 32;
/// The number of chunks in a block. A change copies the block's list of chunks.
const BLOCK: usize = 128;

/// The sketches of one generation, by sequence number.
#[derive(Clone, Debug)]
pub struct Array {
    width: usize,
    blocks: Vec<Arc<Block>>,
}

#[derive(Clone, Debug, Default)]
struct Block(Vec<Option<Arc<Chunk>>>);

/// For each slot the squared norm of its sketch, then the sketch, so that one memory access reads
/// both.
type Chunk = [i8];

/// The size of a squared norm in bytes.
const SQUARE: usize = size_of::<u32>();
/// Replaces the squared norm if there is no sketch.
const NONE: [i8; SQUARE] = [-1; SQUARE];

impl Array {
    /// The number of sequence numbers in a block. [Joined](Self::join) parts start at multiples of
    /// it.
    #[expect(clippy::cast_possible_truncation, reason = "the product is 4,096")]
    pub const ALIGNED: u32 = (CHUNK * BLOCK) as u32;

    /// Creates an empty array for sketches of `width` bytes.
    pub fn new(width: usize) -> Self {
        Array {
            width,
            blocks: Vec::new(),
        }
    }

    /// Stores a sketch of `width` bytes.
    pub fn insert(&mut self, sequence: u32, bytes: impl ExactSizeIterator<Item = i8>) {
        let (block, chunk, slot) = locate(sequence);
        if self.blocks.len() <= block {
            self.blocks.resize_with(block + 1, Arc::default);
        }
        let chunks = &mut Arc::make_mut(&mut self.blocks[block]).0;
        if chunks.len() <= chunk {
            chunks.resize(chunk + 1, None);
        }
        let chunk = chunks[chunk].get_or_insert_with(|| {
            let mut empty = vec![0; CHUNK * (SQUARE + self.width)];
            let slots = empty.chunks_exact_mut(SQUARE + self.width);
            slots.for_each(|slot| slot[..SQUARE].copy_from_slice(&NONE));
            empty.into()
        });
        let slot = &mut Arc::make_mut(chunk)[slot * (SQUARE + self.width)..];
        let (to, values) = slot[..SQUARE + self.width].split_at_mut(SQUARE);
        (values.iter_mut().zip(bytes)).for_each(|(to, from)| *to = from);
        let square = square(values).to_ne_bytes();
        to.copy_from_slice(&square.map(u8::cast_signed));
    }

    fn remove(&mut self, sequence: u32) {
        let (block, chunk, slot) = locate(sequence);
        let chunks = self.blocks.get_mut(block).map(Arc::make_mut);
        let Some(place) = chunks.and_then(|chunks| chunks.0.get_mut(chunk)) else {
            return;
        };
        if let Some(chunk) = place {
            let slot = slot * (SQUARE + self.width);
            Arc::make_mut(chunk)[slot..slot + SQUARE].copy_from_slice(&NONE);
            let mut slots = chunk.chunks_exact(SQUARE + self.width);
            if slots.all(|slot| slot.starts_with(&NONE)) {
                *place = None;
            }
        }
    }

    /// Returns the array after some changes, applied in order.
    pub fn with(&self, changes: &[SketchChange]) -> Self {
        let mut array = self.clone();
        for SketchChange { sequence, sketch } in changes {
            match sketch {
                Some(sketch) => array.insert(*sequence, sketch.values().iter().copied()),
                None => array.remove(*sequence),
            }
        }
        array
    }

    /// Joins parts in order. Each part holds the sequence numbers after the previous part, and
    /// starts at a multiple of [`ALIGNED`](Self::ALIGNED).
    pub fn join(width: usize, parts: impl IntoIterator<Item = Array>) -> Self {
        let mut whole = Array::new(width);
        for part in parts {
            let known = whole.blocks.len();
            whole.blocks.extend(part.blocks.into_iter().skip(known));
        }
        whole
    }

    /// The similarities of a sketch to those of some images, in the order of the images; `None` if
    /// an image has no sketch.
    pub fn similarities(
        &self,
        sketch: &Sketch,
        sequences: impl Iterator<Item = u32>,
    ) -> Vec<Option<f32>> {
        let (mut all, mut sequences) = (Vec::with_capacity(sequences.size_hint().0), sequences);
        let mut batch = [None; BATCH];
        loop {
            let mut count = 0;
            for (place, sequence) in batch.iter_mut().zip(&mut sequences) {
                *place = self.slot(sequence);
                count += 1;
            }
            compare(sketch, &batch[..count], &mut all);
            if count < BATCH {
                return all;
            }
        }
    }

    /// The sketch of an image, if it has one.
    pub fn get(&self, sequence: u32) -> Option<Sketch> {
        let values = self.values(sequence)?;
        Some(Sketch::new(values.into()))
    }

    /// All sketches with their sequence numbers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &[i8])> {
        let end = u32::try_from(self.blocks.len() * CHUNK * BLOCK).unwrap_or(u32::MAX);
        (0..end).filter_map(|sequence| Some((sequence, self.values(sequence)?)))
    }

    fn values(&self, sequence: u32) -> Option<&[i8]> {
        let (square, values) = self.slot(sequence)?.split_first_chunk()?;
        (*square != NONE).then_some(values)
    }

    /// The slot of an image: its squared norm and its sketch, if it may have one.
    fn slot(&self, sequence: u32) -> Option<&[i8]> {
        let (block, chunk, slot) = locate(sequence);
        let chunk = self.blocks.get(block)?.0.get(chunk)?.as_ref()?;
        let slot = slot * (SQUARE + self.width);
        chunk.get(slot..slot + SQUARE + self.width)
    }

    /// The memory that it takes, in bytes.
    pub fn bytes(&self) -> usize {
        let chunk = CHUNK * (SQUARE + self.width) + 2 * size_of::<usize>();
        let blocks = self.blocks.iter().map(|block| {
            let chunks = block.0.iter().flatten().count();
            block.0.capacity() * size_of::<Option<Arc<Chunk>>>() + chunks * chunk
        });
        blocks.sum()
    }
}

/// The number of sketches looked up before the first is compared, so that their memory accesses
/// overlap.
const BATCH: usize = 32;
/// The size of a cache line in bytes.
const LINE: usize = 64;

/// Adds the similarities of a sketch to those in a batch of slots.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn compare(sketch: &Sketch, batch: &[Option<&[i8]>], all: &mut Vec<Option<f32>>) {
    for slot in batch.iter().flatten() {
        for line in slot.chunks(LINE) {
            std::hint::black_box(line.first().copied());
        }
        std::hint::black_box(slot.last().copied());
    }
    all.extend(batch.iter().map(|slot| {
        let (square, values) = (*slot)?.split_first_chunk()?;
        (*square != NONE).then(|| {
            let square = u32::from_ne_bytes(square.map(i8::cast_unsigned));
            cosine(product(&sketch.values, values), sketch.square, square)
        })
    }));
}

/// The block of a sequence number, the chunk in the block, and the slot in the chunk.
fn locate(sequence: u32) -> (usize, usize, usize) {
    let sequence = sequence as usize;
    let chunk = sequence / CHUNK;
    (chunk / BLOCK, chunk % BLOCK, sequence % CHUNK)
}

/// A change of an image's sketch.
#[derive(Clone, Debug)]
pub struct SketchChange {
    /// The sequence number of the image.
    pub sequence: u32,
    /// Its new sketch, if it has one.
    pub sketch: Option<Sketch>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_possible_truncation, reason = "small or arbitrary values")]

    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    fn sketch(of: i8) -> Sketch {
        Sketch::new([of, 1, -of].into())
    }

    proptest! {
        #[test]
        fn an_array_is_a_map_whose_earlier_states_remain(
            groups in prop::collection::vec(
                prop::collection::vec((0u32..3 * Array::ALIGNED, -127i8..127, prop::bool::weighted(0.7)), 0..40),
                0..6,
            ),
        ) {
            let mut states = vec![(Array::new(3), BTreeMap::new())];
            for group in groups {
                let (array, mut map) = states.last().cloned().unwrap();
                let change = |(sequence, of, there): (u32, i8, bool)| SketchChange {
                    sequence,
                    sketch: there.then(|| sketch(of)),
                };
                let changes: Vec<SketchChange> = group.into_iter().map(change).collect();
                for SketchChange { sequence, sketch } in &changes {
                    match sketch {
                        Some(sketch) => map.insert(*sequence, sketch.clone()),
                        None => map.remove(sequence),
                    };
                }
                states.push((array.with(&changes), map));
            }
            let all: Vec<u32> = states.iter().flat_map(|(_, map)| map.keys().copied()).collect();
            let query = sketch(5);
            for (array, map) in &states {
                let listed: Vec<_> = array.iter().map(|(at, values)| (at, values.to_vec())).collect();
                let there = map.iter().map(|(at, sketch)| (*at, sketch.values().to_vec()));
                prop_assert_eq!(listed, there.collect::<Vec<_>>());
                for &sequence in &all {
                    prop_assert_eq!(array.get(sequence), map.get(&sequence).cloned());
                }
                let similarity = |sequence| Some(query.similarity(map.get(sequence)?));
                let expected: Vec<_> = all.iter().map(similarity).collect();
                prop_assert_eq!(array.similarities(&query, all.iter().copied()), expected);
            }
        }

        #[test]
        fn joined_parts_equal_the_whole(mut sequences in prop::collection::vec(0u32..4 * Array::ALIGNED, 0..60), cut in 0u32..4) {
            sequences.sort_unstable();
            let (mut whole, mut parts) = (Array::new(3), [Array::new(3), Array::new(3)]);
            for &sequence in &sequences {
                let values = [sequence as i8, 2, 3];
                whole.insert(sequence, values.into_iter());
                parts[usize::from(sequence >= cut * Array::ALIGNED)].insert(sequence, values.into_iter());
            }
            let joined = Array::join(3, parts);
            for sequence in sequences {
                prop_assert_eq!(joined.get(sequence), whole.get(sequence));
            }
        }
    }
}
