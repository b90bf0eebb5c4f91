//! The keys of the store: a prefix byte, then the rest in big-endian order, so that sled sorts them
//! by number.

use std::ops::Range;

/// The prefix bytes.
pub mod prefix {
    /// Code pages.
    pub const CODES: u8 = b'k';
    /// The number of a name.
    pub const NAME: u8 = b'a';
    /// Data about the store itself.
    pub const META: u8 = b'm';
    /// The name of a number.
    pub const NUMBER: u8 = b'n';
    /// The unreferenced original keys, a block each.
    pub const UNREFERENCED: u8 = b'l';
    /// Sketch pages.
    pub const SKETCHES: u8 = b's';
    /// The payload of an image.
    pub const PAYLOAD: u8 = b'x';
    /// Values pages.
    pub const VALUES: u8 = b'v';
    /// Row pages.
    pub const ROWS: u8 = b'i';
}

const SCHEMA: &[u8] = b"schema";
const GENERATION: &[u8] = b"generation";
const FIELDS: &[u8] = b"fields";
const STATE: &[u8] = b"state";
const ID: &[u8] = b"id";
const POSITION: &[u8] = b"position";
const BROKEN: &[u8] = b"broken";

/// A key of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key<'a> {
    /// The schema version.
    Schema,
    /// The generations.
    Generation,
    /// The declared fields.
    Fields,
    /// The summary.
    State,
    /// The store's own id.
    Id,
    /// The position in the log, if the store follows one.
    Position,
    /// The number of unreadable log messages that were skipped.
    Broken,
    /// A row page.
    Rows(u32),
    /// A code page.
    Codes {
        /// The number of the generation.
        generation: u32,
        /// The number of the page.
        page: u32,
    },
    /// A sketch page.
    Sketches {
        /// The number of the generation.
        generation: u32,
        /// The number of the page.
        page: u32,
    },
    /// A page of the values of a field.
    Values {
        /// The number of the field.
        field: u32,
        /// The number of the page.
        page: u32,
    },
    /// The unreferenced keys of a block of original keys.
    Unreferenced(u64),
    /// The payload of the image with a sequence number.
    Payload(u32),
    /// A name that has a number.
    Name(&'a str),
    /// A number that has a name.
    Number(u32),
}

impl<'a> Key<'a> {
    /// Encodes the key.
    pub fn to_bytes(self) -> Vec<u8> {
        let number = |first, number: u32| join(first, &[&number.to_be_bytes()]);
        let paged =
            |first, of: u32, page: u32| join(first, &[&of.to_be_bytes(), &page.to_be_bytes()]);
        match self {
            Key::Schema => join(prefix::META, &[SCHEMA]),
            Key::Generation => join(prefix::META, &[GENERATION]),
            Key::Fields => join(prefix::META, &[FIELDS]),
            Key::State => join(prefix::META, &[STATE]),
            Key::Id => join(prefix::META, &[ID]),
            Key::Position => join(prefix::META, &[POSITION]),
            Key::Broken => join(prefix::META, &[BROKEN]),
            Key::Rows(page) => number(prefix::ROWS, page),
            Key::Codes { generation, page } => paged(prefix::CODES, generation, page),
            Key::Sketches { generation, page } => paged(prefix::SKETCHES, generation, page),
            Key::Values { field, page } => paged(prefix::VALUES, field, page),
            Key::Unreferenced(block) => join(prefix::UNREFERENCED, &[&block.to_be_bytes()]),
            Key::Payload(sequence) => number(prefix::PAYLOAD, sequence),
            Key::Name(name) => join(prefix::NAME, &[name.as_bytes()]),
            Key::Number(name) => number(prefix::NUMBER, name),
        }
    }

    /// Decodes a key; `None` if no key has these bytes.
    pub fn from_bytes(bytes: &'a [u8]) -> Option<Self> {
        let (&first, rest) = bytes.split_first()?;
        let number = || rest.try_into().ok().map(u32::from_be_bytes);
        let paged = || {
            let (of, page) = rest.split_first_chunk()?;
            let page = page.try_into().ok()?;
            Some((u32::from_be_bytes(*of), u32::from_be_bytes(page)))
        };
        match first {
            prefix::META if rest == SCHEMA => Some(Key::Schema),
            prefix::META if rest == GENERATION => Some(Key::Generation),
            prefix::META if rest == FIELDS => Some(Key::Fields),
            prefix::META if rest == ID => Some(Key::Id),
            prefix::META if rest == STATE => Some(Key::State),
            prefix::META if rest == POSITION => Some(Key::Position),
            prefix::META if rest == BROKEN => Some(Key::Broken),
            prefix::ROWS => number().map(Key::Rows),
            prefix::CODES => paged().map(|(generation, page)| Key::Codes { generation, page }),
            prefix::SKETCHES => {
                paged().map(|(generation, page)| Key::Sketches { generation, page })
            }
            prefix::VALUES => paged().map(|(field, page)| Key::Values { field, page }),
            prefix::UNREFERENCED => {
                Some(Key::Unreferenced(u64::from_be_bytes(rest.try_into().ok()?)))
            }
            prefix::PAYLOAD => number().map(Key::Payload),
            prefix::NAME => str::from_utf8(rest).ok().map(Key::Name),
            prefix::NUMBER => number().map(Key::Number),
            _ => None,
        }
    }
}

/// The key range of a run of row pages.
pub fn rows(pages: Range<u32>) -> Range<Vec<u8>> {
    Key::Rows(pages.start).to_bytes()..Key::Rows(pages.end).to_bytes()
}

/// The key range of a run of code pages.
pub fn codes(generation: u32, pages: Range<u32>) -> Range<Vec<u8>> {
    let key = |page| Key::Codes { generation, page }.to_bytes();
    key(pages.start)..key(pages.end)
}

/// The key range of a run of sketch pages.
pub fn sketches(generation: u32, pages: Range<u32>) -> Range<Vec<u8>> {
    let key = |page| Key::Sketches { generation, page }.to_bytes();
    key(pages.start)..key(pages.end)
}

/// The key range of a run of values pages.
pub fn values(field: u32, pages: Range<u32>) -> Range<Vec<u8>> {
    let key = |page| Key::Values { field, page }.to_bytes();
    key(pages.start)..key(pages.end)
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
        let codes = Key::Codes {
            generation: 7,
            page: 1 << 30,
        };
        for key in [
            Key::Schema,
            Key::Generation,
            Key::Fields,
            Key::State,
            Key::Values { field: 1, page: 0 },
            Key::Rows(3),
            codes,
            Key::Sketches {
                generation: 2,
                page: 9,
            },
            Key::Id,
            Key::Position,
            Key::Broken,
            Key::Unreferenced(u64::MAX),
            Key::Payload(9),
            Key::Name("a label"),
            Key::Number(4),
        ] {
            assert_eq!(Key::from_bytes(&key.to_bytes()), Some(key));
        }
        for bytes in [&b""[..], b"z", b"mother", b"k123", b"a\xff", b"i12345"] {
            assert_eq!(Key::from_bytes(bytes), None);
        }
    }

    #[test]
    fn pages_sort_by_number_under_their_generation() {
        let key = |generation, page| Key::Codes { generation, page }.to_bytes();
        assert!(key(1, 255) < key(1, 256) && key(1, u32::MAX) < key(2, 0));
        assert!(codes(258, 0..10).contains(&key(258, 9)));
        assert!(!rows(1..3).contains(&Key::Rows(3).to_bytes()));
    }
}
