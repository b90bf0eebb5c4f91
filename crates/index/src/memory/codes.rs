//! The codes of a generation by sequence number, packed: 13 bytes for one code of each length.
//! Immutable, so that readers share them without a lock; a change makes a new array that shares
//! everything unchanged.

use std::{ops::Range, sync::Arc};

use crate::{
    code::Length,
    memory::{probe::Kind, segment::Segment},
};

/// The number of sequence numbers in a chunk. A change copies one chunk.
const CHUNK: usize = 256;
/// The number of chunks in a block. A change copies the block's list of chunks.
const BLOCK: usize = 256;
/// A chunk starts with one bit for each of its sequence numbers: set if it has codes.
const FLAGS: usize = CHUNK / 8;

/// The codes of images, by sequence number.
#[derive(Clone, Debug)]
pub struct Codes {
    /// The bytes of each length's code in a slot.
    fields: Arc<[Range<usize>]>,
    blocks: Vec<Arc<Block>>,
}

#[derive(Clone, Debug, Default)]
struct Block(Vec<Option<Arc<[u8]>>>);

impl Codes {
    /// Creates an empty array for one code of each length.
    pub fn new(lengths: impl IntoIterator<Item = Length>) -> Self {
        let mut end = 0;
        let fields = lengths.into_iter().map(|length| {
            let start = end;
            end += length.bits() / 8;
            start..end
        });
        Codes {
            fields: fields.collect(),
            blocks: Vec::new(),
        }
    }

    /// The size of a slot in bytes.
    fn width(&self) -> usize {
        self.fields.last().map_or(0, |field| field.end)
    }

    /// Stores the code of the length at an index.
    pub fn insert(&mut self, sequence: u32, at: usize, word: u64) {
        let (block, chunk, slot) = locate(sequence);
        let width = self.width();
        let Some(field) = self.fields.get(at) else {
            return;
        };
        if self.blocks.len() <= block {
            self.blocks.resize_with(block + 1, Arc::default);
        }
        let chunks = &mut Arc::make_mut(&mut self.blocks[block]).0;
        if chunks.len() <= chunk {
            chunks.resize(chunk + 1, None);
        }
        let chunk = chunks[chunk].get_or_insert_with(|| vec![0; FLAGS + CHUNK * width].into());
        let chunk = Arc::make_mut(chunk);
        chunk[slot / 8] |= 1 << (slot % 8);
        let start = FLAGS + slot * width + field.start;
        chunk[start..start + field.len()].copy_from_slice(&word.to_le_bytes()[..field.len()]);
    }

    fn chunk(&mut self, sequence: u32) -> Option<&mut Option<Arc<[u8]>>> {
        let (block, chunk, _) = locate(sequence);
        let block = self.blocks.get_mut(block).map(Arc::make_mut)?;
        block.0.get_mut(chunk)
    }

    fn remove(&mut self, sequence: u32) {
        let (_, _, slot) = locate(sequence);
        if let Some(Some(chunk)) = self.chunk(sequence) {
            Arc::make_mut(chunk)[slot / 8] &= !(1 << (slot % 8));
        }
    }

    /// Frees the chunk of a sequence number if none of its images has codes.
    fn free_if_empty(&mut self, sequence: u32) {
        let is_empty = |chunk: &mut Arc<[u8]>| chunk[..FLAGS].iter().all(|&flags| flags == 0);
        if let Some(place) = self.chunk(sequence) {
            place.take_if(is_empty);
        }
    }

    /// Returns the array after a commit.
    pub fn with(&self, kinds: &[Kind], segment: &Segment) -> Self {
        let mut codes = self.clone();
        let lengths = 0..kinds
            .iter()
            .filter(|kind| matches!(kind, Kind::Codes(_)))
            .count();
        let removed = lengths.clone().flat_map(|at| segment.removed[at].iter());
        let removed: Vec<u32> = removed.flat_map(|(_, images)| images).copied().collect();
        // An image whose codes change in part gets its flag back below.
        removed.iter().for_each(|&image| codes.remove(image));
        for at in lengths {
            for (word, images) in segment.added[at].iter() {
                images
                    .iter()
                    .for_each(|&image| codes.insert(image, at, word));
            }
        }
        removed.iter().for_each(|&image| codes.free_if_empty(image));
        codes
    }

    /// Reads the codes of the length at an index. `are_coded` says that all images have codes,
    /// which saves a look at each one's flag.
    pub fn reader(&self, at: usize, are_coded: bool) -> Reader<'_> {
        Reader {
            codes: self,
            field: self.fields.get(at).cloned().unwrap_or_default(),
            width: self.width(),
            are_coded,
        }
    }

    /// The memory that it takes, in bytes.
    pub fn bytes(&self) -> usize {
        let chunk = FLAGS + CHUNK * self.width() + 2 * size_of::<usize>();
        let blocks = self.blocks.iter().map(|block| {
            let chunks = block.0.iter().flatten().count();
            block.0.capacity() * size_of::<Option<Arc<[u8]>>>() + chunks * chunk
        });
        blocks.sum()
    }
}

/// Reads the codes of one length.
pub struct Reader<'a> {
    codes: &'a Codes,
    field: Range<usize>,
    width: usize,
    are_coded: bool,
}

impl Reader<'_> {
    /// The code of an image, if it has codes.
    #[inline]
    pub fn word(&self, image: u32) -> Option<u64> {
        let (block, chunk, slot) = locate(image);
        let chunk = self.codes.blocks.get(block)?.0.get(chunk)?.as_ref()?;
        if !self.are_coded && chunk[slot / 8] >> (slot % 8) & 1 == 0 {
            return None;
        }
        let start = FLAGS + slot * self.width + self.field.start;
        let mut word = [0; 8];
        // A fixed number of bytes is copied by one instruction or two.
        match self.field.len() {
            3 => word[..3].copy_from_slice(chunk.get(start..start + 3)?),
            4 => word[..4].copy_from_slice(chunk.get(start..start + 4)?),
            _ => word[..6].copy_from_slice(chunk.get(start..start + 6)?),
        }
        Some(u64::from_le_bytes(word))
    }
}

/// The block of a sequence number, the chunk in the block, and the slot in the chunk.
fn locate(sequence: u32) -> (usize, usize, usize) {
    let sequence = sequence as usize;
    let chunk = sequence / CHUNK;
    (chunk / BLOCK, chunk % BLOCK, sequence % CHUNK)
}
