//! The stored form of the declared fields, and the pages of their values: the words of neighbouring
//! sequence numbers under one checksum.

use serde::{Deserialize, Serialize};

use crate::{
    disk::{
        key::Key,
        page::{self, Page, SLOTS},
    },
    types::{
        error::{Damage, IndexError},
        field::{Field, FieldPath},
    },
};

/// The words of an image in a field, ascending and without duplicates.
pub type Words = Vec<u64>;

/// The fields of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fields {
    /// The declared fields, by ascending number.
    pub fields: Vec<Field>,
    /// The highest number ever assigned. Pages of deleted fields up to it may still exist.
    pub last: u32,
}

impl Fields {
    /// Reads the fields of a store. A store without the key has none.
    ///
    /// # Errors
    /// [`IndexError::Corrupt`] if they are malformed, [`IndexError::Store`].
    pub fn read(tree: &sled::Tree) -> Result<Self, IndexError> {
        let Some(value) = tree.get(Key::Fields.to_bytes())? else {
            return Ok(Fields::default());
        };
        let read: Result<Fields, _> = serde_json::from_slice(&value);
        let mut read = read.map_err(|error| Damage {
            what: "the declared fields".to_owned(),
            why: error.to_string(),
        })?;
        let numbers = read.fields.iter().map(|field| field.number);
        read.last = numbers.fold(read.last, u32::max);
        Ok(read)
    }

    /// Adds the fields to a batch.
    pub fn write(&self, batch: &mut sled::Batch) {
        let value = serde_json::json!(self).to_string();
        batch.insert(Key::Fields.to_bytes(), value.as_bytes());
    }

    /// Returns true if a field has this number.
    pub fn has(&self, number: u32) -> bool {
        self.fields.iter().any(|field| field.number == number)
    }
}

impl Field {
    /// The key of a values page.
    pub fn values_key(&self, page: u32) -> Vec<u8> {
        let field = self.number;
        Key::Values { field, page }.to_bytes()
    }
}

/// Passes each word of a values page to `each`, with the slot of its image. Slots and words come in
/// ascending order.
///
/// # Errors
/// The kind of damage. `each` may then have got a part of the words.
pub fn each_word(bytes: &[u8], mut each: impl FnMut(u8, u64)) -> Result<(), &'static str> {
    // This is how postcard encodes a map of slots with lists of words. Nothing is allocated,
    // because all pages are read when a store is opened.
    let mut rest = page::open(bytes)?;
    let slots: u32 = take(&mut rest)?;
    let mut least_slot = 0;
    for _ in 0..slots {
        let slot: u8 = take(&mut rest)?;
        if !(least_slot..SLOTS).contains(&slot.into()) {
            return Err("it has a slot past its end or out of order");
        }
        least_slot = u32::from(slot) + 1;
        let words: u32 = take(&mut rest)?;
        let mut least_word = Some(0);
        for _ in 0..words {
            let word: u64 = take(&mut rest)?;
            if least_word.is_none_or(|least| word < least) {
                return Err("it has a word out of order");
            }
            least_word = word.checked_add(1);
            each(slot, word);
        }
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err("it has bytes past its end")
    }
}

fn take<'a, T: Deserialize<'a>>(rest: &mut &'a [u8]) -> Result<T, &'static str> {
    let taken = postcard::take_from_bytes(rest);
    let (value, after) = taken.map_err(|_| "it is not a page of this kind")?;
    *rest = after;
    Ok(value)
}

/// Decodes a values page.
///
/// # Errors
/// The kind of damage.
pub fn decode(bytes: &[u8]) -> Result<Page<Words>, &'static str> {
    let mut page = Page::<Words>::new();
    each_word(bytes, |slot, word| page.entry(slot).or_default().push(word))?;
    Ok(page)
}

impl Damage {
    /// Damage of a values page.
    pub fn values(number: u32, path: &FieldPath, why: &str) -> Self {
        let what = format!("values page {number} of the field {path}");
        let damage = Damage::page(what, number, SLOTS, why);
        let why = format!(
            "{}; filters by {path} do not find them until the field is deleted and declared again",
            damage.why
        );
        Damage { why, ..damage }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_possible_truncation, reason = "small or arbitrary values")]

    use super::*;
    use crate::types::field::FieldType;
    use proptest::{collection::btree_set, prelude::*};

    #[test]
    fn fields_read_back() {
        let store = sled::Config::new().temporary(true).open().unwrap();
        assert_eq!(Fields::read(&store).unwrap(), Fields::default());
        let fields = Fields {
            fields: vec![Field {
                number: 3,
                path: "size.\"a width\"".parse().unwrap(),
                kind: FieldType::Integer,
                built: true,
            }],
            last: 5,
        };
        let mut batch = sled::Batch::default();
        fields.write(&mut batch);
        store.apply_batch(batch).unwrap();
        assert_eq!(Fields::read(&store).unwrap(), fields);
        store.insert(Key::Fields.to_bytes(), "{}").unwrap();
        let error = Fields::read(&store).unwrap_err();
        assert!(error.to_string().contains("declared fields"), "{error}");
    }

    proptest! {
        #[test]
        fn pages_read_back(
            slots in prop::collection::btree_map(0..SLOTS as u8, btree_set(any::<u64>(), 1..5), 0..9),
        ) {
            let page: Page<Words> =
                slots.into_iter().map(|(slot, words)| (slot, words.into_iter().collect())).collect();
            let bytes = page::encode(&page).unwrap();
            prop_assert_eq!(decode(&bytes), Ok(page));
        }

        #[test]
        fn no_input_panics(body: Vec<u8>, sealed: bool) {
            let bytes = if sealed { page::seal(body) } else { body };
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn words_out_of_order_are_damage() {
        for (words, sound) in [(vec![1, 2], true), (vec![2, 1], false), (vec![2, 2], false)] {
            let page = Page::from([(4, words)]);
            assert_eq!(decode(&page::encode(&page).unwrap()).is_ok(), sound);
        }
    }
}
