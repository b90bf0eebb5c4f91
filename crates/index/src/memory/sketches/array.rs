//! The sketches of a generation in memory, by sequence number: immutable, so that readers share them without a lock. A change makes another
//! array, which shares all that it does not touch. Knows no disk.

use std::sync::Arc;

use multiversion::multiversion;

use crate::types::sketch::{Sketch, cosine, product, square};

/// How many sequence numbers share a chunk, which is copied when one of them changes.
const CHUNK: usize = 32;
/// How many chunks share a block, whose list is copied.
const BLOCK: usize = 128;

/// The sketches of one generation, by sequence number.
#[derive(Clone, Debug)]
pub struct Array {
    width: usize,
    blocks: Vec<Arc<Block>>,
}

#[derive(Clone, Debug, Default)]
struct Block(Vec<Option<Arc<Chunk>>>);

/// Of each slot the squared length of its sketch and then the sketch, so that one access of memory finds both.
type Chunk = [i8];

/// Bytes of a squared length.
const SQUARE: usize = size_of::<u32>();
/// In place of the squared length where there is no sketch.
const NONE: [i8; SQUARE] = [-1; SQUARE];

impl Array {
    /// How many sequence numbers share a block: those of the parts that are [joined](Self::join) are apart by multiples of it.
    pub const ALIGNED: u32 = (CHUNK * BLOCK) as u32;

    /// Of sketches that have `width` bytes, of which there are none yet.
    pub fn new(width: usize) -> Self {
        Array {
            width,
            blocks: Vec::new(),
        }
    }

    /// Puts a sketch into its place: as many bytes as each has.
    pub fn insert(&mut self, sequence: u32, bytes: impl ExactSizeIterator<Item = i8>) {
        let (block, chunk, slot) = place(sequence);
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
        to.copy_from_slice(&square.map(|byte| byte as i8));
    }

    fn remove(&mut self, sequence: u32) {
        let (block, chunk, slot) = place(sequence);
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

    /// With some changes, in their order.
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

    /// Parts in order, each of the sequence numbers from the end of the part before it on. Places are by [`ALIGNED`](Self::ALIGNED): what lies
    /// before a part in its own array is empty and taken from the parts before.
    pub fn join(width: usize, parts: impl IntoIterator<Item = Array>) -> Self {
        let mut whole = Array::new(width);
        for part in parts {
            let known = whole.blocks.len();
            whole.blocks.extend(part.blocks.into_iter().skip(known));
        }
        whole
    }

    /// How like a sketch of the same length those of some images are, in their order; none where one has none.
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

    /// All sketches with the sequence numbers of their images, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &[i8])> {
        let end = u32::try_from(self.blocks.len() * CHUNK * BLOCK).unwrap_or(u32::MAX);
        (0..end).filter_map(|sequence| Some((sequence, self.values(sequence)?)))
    }

    fn values(&self, sequence: u32) -> Option<&[i8]> {
        let (square, values) = self.slot(sequence)?.split_first_chunk()?;
        (*square != NONE).then_some(values)
    }

    /// The squared length of an image's sketch and the sketch, if there may be one.
    fn slot(&self, sequence: u32) -> Option<&[i8]> {
        let (block, chunk, slot) = place(sequence);
        let chunk = self.blocks.get(block)?.0.get(chunk)?.as_ref()?;
        let slot = slot * (SQUARE + self.width);
        chunk.get(slot..slot + SQUARE + self.width)
    }

    /// Bytes of memory that it takes.
    pub fn bytes(&self) -> usize {
        let chunk = CHUNK * (SQUARE + self.width) + 2 * size_of::<usize>();
        let blocks = self.blocks.iter().map(|block| {
            let chunks = block.0.iter().flatten().count();
            block.0.capacity() * size_of::<Option<Arc<Chunk>>>() + chunks * chunk
        });
        blocks.sum()
    }
}

/// Sketches that are looked up before the first is compared, so that the processor waits for all of them at once.
const BATCH: usize = 32;
/// Bytes that the processor reads from memory at once.
const LINE: usize = 64;

/// How like a sketch those in some slots are.
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
            let square = u32::from_ne_bytes(square.map(|byte| byte as u8));
            cosine(product(&sketch.values, values), sketch.square, square)
        })
    }));
}

/// The block, the chunk in it and the slot in that.
fn place(sequence: u32) -> (usize, usize, usize) {
    let sequence = sequence as usize;
    let chunk = sequence / CHUNK;
    (chunk / BLOCK, chunk % BLOCK, sequence % CHUNK)
}

/// What becomes of an image's sketch.
#[derive(Clone, Debug)]
pub struct SketchChange {
    /// The image.
    pub sequence: u32,
    /// Its sketch from now on, if it has one.
    pub sketch: Option<Sketch>,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    fn sketch(of: i8) -> Sketch {
        Sketch::new([of, 1, -of].into())
    }

    proptest! {
        #[test]
        fn it_is_a_map_whose_earlier_states_stay(
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
        fn parts_join(mut sequences in prop::collection::vec(0u32..4 * Array::ALIGNED, 0..60), cut in 0u32..4) {
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
