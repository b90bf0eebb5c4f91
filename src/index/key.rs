//! The keys of the store: one prefix byte for what it is, then the rest, big-endian, so that sled's order is ours.
//! The only place that knows their bytes; knows nothing of the values behind them.

use std::ops::Bound;

/// What is kept under a key, by its first byte.
pub mod prefix {
    /// The original bytes of an image.
    pub const CONTENT: u8 = b'c';
    /// What is known of the store itself.
    pub const META: u8 = b'm';
    /// Codes, 64 images a page.
    pub const PAGE: u8 = b'p';
    /// What is known of an image.
    pub const RECORD: u8 = b'r';
}

const SCHEMA: &[u8] = b"schema";
const GENERATION: &[u8] = b"generation";

/// A key of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key<'a> {
    /// The schema version.
    Schema,
    /// The active generation.
    Generation,
    /// The record of an image id.
    Record(&'a str),
    /// The original of an image id.
    Content(&'a str),
    /// A page of codes.
    Page {
        /// The generation its codes belong to.
        generation: u32,
        /// Its images have the sequence numbers from 64 times this on.
        number: u64,
    },
}

impl<'a> Key<'a> {
    /// As sled sees it.
    pub fn to_bytes(self) -> Vec<u8> {
        match self {
            Key::Schema => join(prefix::META, &[SCHEMA]),
            Key::Generation => join(prefix::META, &[GENERATION]),
            Key::Record(id) => join(prefix::RECORD, &[id.as_bytes()]),
            Key::Content(id) => join(prefix::CONTENT, &[id.as_bytes()]),
            Key::Page { generation, number } => join(
                prefix::PAGE,
                &[&generation.to_be_bytes(), &number.to_be_bytes()],
            ),
        }
    }

    /// Reads a key back; `None` where no key of this program has such bytes.
    pub fn from_bytes(bytes: &'a [u8]) -> Option<Self> {
        let (&first, rest) = bytes.split_first()?;
        match first {
            prefix::META if rest == SCHEMA => Some(Key::Schema),
            prefix::META if rest == GENERATION => Some(Key::Generation),
            prefix::RECORD => str::from_utf8(rest).ok().map(Key::Record),
            prefix::CONTENT => str::from_utf8(rest).ok().map(Key::Content),
            prefix::PAGE => {
                let (generation, number) = rest.split_first_chunk()?;
                Some(Key::Page {
                    generation: u32::from_be_bytes(*generation),
                    number: u64::from_be_bytes(number.try_into().ok()?),
                })
            }
            _ => None,
        }
    }
}

/// What every page of a generation begins with.
pub fn pages(generation: u32) -> Vec<u8> {
    join(prefix::PAGE, &[&generation.to_be_bytes()])
}

/// The range of the records that come after an id, or of all.
pub fn records(after: Option<&str>) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let from = match after {
        Some(id) => Bound::Excluded(Key::Record(id).to_bytes()),
        None => Bound::Included(vec![prefix::RECORD]),
    };
    (from, Bound::Excluded(vec![prefix::RECORD + 1]))
}

fn join(first: u8, rest: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![first];
    bytes.extend(rest.iter().copied().flatten());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_reads_back() {
        let page = Key::Page {
            generation: 7,
            number: 1 << 40,
        };
        for key in [
            Key::Schema,
            Key::Generation,
            Key::Record("a"),
            Key::Content("a"),
            page,
        ] {
            assert_eq!(Key::from_bytes(&key.to_bytes()), Some(key));
        }
        for bytes in [&b""[..], b"x", b"mother", b"p123", b"r\xff"] {
            assert_eq!(Key::from_bytes(bytes), None);
        }
    }

    #[test]
    fn pages_sort_by_number_under_their_generation() {
        let key = |generation, number| Key::Page { generation, number }.to_bytes();
        assert!(key(1, 255) < key(1, 256) && key(1, u64::MAX) < key(2, 0));
        assert!(key(258, 9).starts_with(&pages(258)));
    }
}
