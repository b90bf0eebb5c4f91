//! The sketches of a generation in memory, by sequence number: immutable, so that readers share them without a lock. A change makes another
//! array, which shares all that it does not touch. Knows no disk.

use std::sync::Arc;

use super::{Sketch, Sketched, cosine, dot, square};

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

#[derive(Clone, Debug)]
struct Chunk {
    /// A bit for each sketch that is there.
    used: u32,
    /// The squared length of each.
    squares: [u32; CHUNK],
    /// One after the other.
    values: Box<[i8]>,
}

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
        let width = self.width;
        let chunk = chunks[chunk].get_or_insert_with(|| {
            Arc::new(Chunk {
                used: 0,
                squares: [0; CHUNK],
                values: vec![0; CHUNK * width].into(),
            })
        });
        let chunk = Arc::make_mut(chunk);
        let values = &mut chunk.values[slot * width..][..width];
        values
            .iter_mut()
            .zip(bytes)
            .for_each(|(to, from)| *to = from);
        chunk.squares[slot] = square(values);
        chunk.used |= 1 << slot;
    }

    fn remove(&mut self, sequence: u32) {
        let (block, chunk, slot) = place(sequence);
        let chunks = self.blocks.get_mut(block).map(Arc::make_mut);
        let Some(place) = chunks.and_then(|chunks| chunks.0.get_mut(chunk)) else {
            return;
        };
        if let Some(chunk) = place {
            let chunk = Arc::make_mut(chunk);
            chunk.used &= !(1 << slot);
            if chunk.used == 0 {
                *place = None;
            }
        }
    }

    /// With some changes, in their order.
    pub fn with(&self, changes: &[Sketched]) -> Self {
        let mut array = self.clone();
        for Sketched { sequence, sketch } in changes {
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

    /// How like a sketch of the same length that of an image is; none where it has none.
    pub fn similarity(&self, sketch: &Sketch, sequence: u32) -> Option<f32> {
        let (block, chunk, slot) = place(sequence);
        let chunk = self.blocks.get(block)?.0.get(chunk)?.as_ref()?;
        if chunk.used >> slot & 1 == 0 {
            return None;
        }
        let values = &chunk.values[slot * self.width..][..self.width];
        let dot = dot(&sketch.values, values);
        Some(cosine(dot, sketch.square, chunk.squares[slot]))
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
        let (block, chunk, slot) = place(sequence);
        let chunk = self.blocks.get(block)?.0.get(chunk)?.as_ref()?;
        let values = &chunk.values[slot * self.width..][..self.width];
        (chunk.used >> slot & 1 == 1).then_some(values)
    }

    /// Bytes of memory that it takes.
    pub fn bytes(&self) -> usize {
        let chunk = size_of::<Chunk>() + CHUNK * self.width + 2 * size_of::<usize>();
        let blocks = self.blocks.iter().map(|block| {
            let chunks = block.0.iter().flatten().count();
            block.0.capacity() * size_of::<usize>() + chunks * chunk
        });
        blocks.sum()
    }
}

/// The block, the chunk in it and the slot in that.
fn place(sequence: u32) -> (usize, usize, usize) {
    let sequence = sequence as usize;
    let chunk = sequence / CHUNK;
    (chunk / BLOCK, chunk % BLOCK, sequence % CHUNK)
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
                let change = |(sequence, of, there): (u32, i8, bool)| Sketched {
                    sequence,
                    sketch: there.then(|| sketch(of)),
                };
                let changes: Vec<Sketched> = group.into_iter().map(change).collect();
                for Sketched { sequence, sketch } in &changes {
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
                    let expected = map.get(&sequence);
                    prop_assert_eq!(array.get(sequence), expected.cloned());
                    let similarity = array.similarity(&query, sequence);
                    prop_assert_eq!(similarity, expected.map(|sketch| query.similarity(sketch)));
                }
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
