//! Which images pass a filter: a set of sequence numbers, in a form that suits how often it will be asked.
//! Pure; knows nothing of labels but that each has a list.

use bitvec::vec::BitVec;

/// Sequence numbers that pass, ascending.
#[derive(Debug)]
pub struct Filter(Vec<u32>);

/// A filter made ready.
pub enum Prepared<'a> {
    /// To be searched.
    List(&'a [u32]),
    /// To be looked up.
    Bits(BitVec),
}

impl Filter {
    /// Those of several ascending lists, one after the other.
    pub fn any(lists: impl Iterator<Item = u32>) -> Self {
        let mut all: Vec<u32> = lists.collect();
        // This sort makes use of the order there is.
        all.sort();
        all.dedup();
        Filter(all)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// All of them.
    pub fn sequences(&self) -> &[u32] {
        &self.0
    }

    /// Ready to be asked so many times.
    pub fn prepared(&self, times: usize) -> Prepared<'_> {
        let Some(&last) = self.0.last() else {
            return Prepared::List(&[]);
        };
        // A search costs some twenty times what setting or asking a bit does.
        if times.saturating_mul(20) < self.0.len() + last as usize / 64 {
            return Prepared::List(&self.0);
        }
        let mut bits = BitVec::repeat(false, last as usize + 1);
        self.0.iter().for_each(|&one| bits.set(one as usize, true));
        Prepared::Bits(bits)
    }
}

impl Prepared<'_> {
    /// Whether an image passes.
    pub fn has(&self, sequence: u32) -> bool {
        match self {
            Prepared::List(list) => list.binary_search(&sequence).is_ok(),
            Prepared::Bits(bits) => bits.get(sequence as usize).is_some_and(|bit| *bit),
        }
    }
}
