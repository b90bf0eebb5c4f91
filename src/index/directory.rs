//! The directory in memory: for each length the distinct codes and the images behind each; the images of each label.
//! Knows images by their sequence numbers only, and no disk: it is built from one at open and follows every commit.

use std::collections::{BTreeSet, HashMap};

use crate::code::{HashCode, Length};

use super::probe::{self, Hit};

/// What the directory knows of an image.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its codes, one of each length, ascending.
    pub codes: Vec<HashCode>,
    /// Its labels.
    pub labels: Vec<String>,
}

/// An image before and after a write: inserted, replaced, relabelled or deleted.
#[derive(Debug)]
pub struct Change {
    /// Which image.
    pub sequence: u64,
    /// As it was, if it was there.
    pub before: Option<Entry>,
    /// As it is, if it is still there.
    pub after: Option<Entry>,
}

/// See the module.
#[derive(Debug)]
pub struct Directory {
    columns: Vec<Column>,
    labels: HashMap<String, BTreeSet<u64>>,
    images: u64,
}

impl Directory {
    /// Without any image.
    pub fn new(lengths: &[Length]) -> Self {
        Directory {
            columns: lengths.iter().map(|&length| Column::new(length)).collect(),
            labels: HashMap::new(),
            images: 0,
        }
    }

    /// Follows a write.
    pub fn apply(&mut self, change: &Change) {
        let Change {
            sequence,
            before,
            after,
        } = change;
        for (at, column) in self.columns.iter_mut().enumerate() {
            let word = |entry: &Option<Entry>| Some(entry.as_ref()?.codes.get(at)?.word());
            let (old, new) = (word(before), word(after));
            if old != new {
                old.inspect(|&word| column.remove(word, *sequence));
                new.inspect(|&word| column.insert(word, *sequence));
            }
        }
        for label in before.iter().flat_map(|entry| &entry.labels) {
            if let Some(images) = self.labels.get_mut(label) {
                images.remove(sequence);
                if images.is_empty() {
                    self.labels.remove(label);
                }
            }
        }
        for label in after.iter().flat_map(|entry| &entry.labels) {
            self.label(label, *sequence);
        }
        self.images = self.images + u64::from(after.is_some()) - u64::from(before.is_some());
    }

    /// Puts an image under a label.
    pub fn label(&mut self, label: &str, sequence: u64) {
        match self.labels.get_mut(label) {
            Some(images) => images.insert(sequence),
            None => self
                .labels
                .entry(label.to_owned())
                .or_default()
                .insert(sequence),
        };
    }

    /// How many images are within `radius` of `code` and have any of `labels` (all where there are none), and a window
    /// of them in order; `None` where the index has no codes of that length.
    pub fn search(
        &self,
        code: &HashCode,
        radius: u32,
        labels: &[String],
        offset: usize,
        limit: usize,
    ) -> Option<(u64, Vec<Hit>)> {
        let column = self
            .columns
            .iter()
            .find(|column| column.length == code.length())?;
        let near = probe::within(&column.words, code.word(), radius);
        let sets: Vec<&BTreeSet<u64>> = labels
            .iter()
            .filter_map(|label| self.labels.get(label))
            .collect();
        let wanted =
            (!labels.is_empty()).then_some(|posting| sets.iter().any(|set| set.contains(&posting)));
        let postings = |slot| column.postings.get(slot).map_or(&[][..], Vec::as_slice);
        Some(probe::window(&near, postings, wanted, offset, limit))
    }

    /// How many images there are.
    pub fn images(&self) -> u64 {
        self.images
    }

    /// How many distinct codes of each length there are.
    pub fn distinct(&self) -> impl Iterator<Item = (Length, u64)> {
        self.columns
            .iter()
            .map(|column| (column.length, column.words.len() as u64))
    }
}

/// The codes of one length. `words` is scanned whole, so it stays dense: the last takes the place of one removed.
#[derive(Debug)]
struct Column {
    length: Length,
    words: Vec<u64>,
    postings: Vec<Vec<u64>>,
    slots: HashMap<u64, usize>,
}

impl Column {
    fn new(length: Length) -> Self {
        Column {
            length,
            words: Vec::new(),
            postings: Vec::new(),
            slots: HashMap::new(),
        }
    }

    fn insert(&mut self, word: u64, sequence: u64) {
        let slot = *self.slots.entry(word).or_insert(self.words.len());
        match self.postings.get_mut(slot) {
            // A new image is the youngest, so the search is for replaced ones.
            Some(postings) if postings.last() < Some(&sequence) => postings.push(sequence),
            Some(postings) => {
                if let Err(at) = postings.binary_search(&sequence) {
                    postings.insert(at, sequence);
                }
            }
            None => {
                self.words.push(word);
                self.postings.push(vec![sequence]);
            }
        }
    }

    fn remove(&mut self, word: u64, sequence: u64) {
        let Some(&slot) = self.slots.get(&word) else {
            return;
        };
        let Some(postings) = self.postings.get_mut(slot) else {
            return;
        };
        if let Ok(at) = postings.binary_search(&sequence) {
            postings.remove(at);
        }
        if postings.is_empty() {
            self.slots.remove(&word);
            self.words.swap_remove(slot);
            self.postings.swap_remove(slot);
            if let Some(moved) = self.words.get(slot) {
                self.slots.insert(*moved, slot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(word: u64, label: &str) -> Option<Entry> {
        Some(Entry {
            codes: vec![HashCode::from_word(Length::L24, word)],
            labels: vec![label.to_owned()],
        })
    }

    fn all(directory: &Directory, labels: &[String]) -> (u64, Vec<u64>) {
        let code = HashCode::from_word(Length::L24, 0);
        let (total, hits) = directory.search(&code, 24, labels, 0, 99).unwrap();
        (total, hits.iter().map(|hit| hit.sequence).collect())
    }

    #[test]
    fn an_emptied_code_goes_and_the_rest_are_still_found() {
        let mut directory = Directory::new(&[Length::L24]);
        for (sequence, word) in [(1, 1), (2, 2), (3, 3), (4, 1)] {
            let after = entry(word, "x");
            directory.apply(&Change {
                sequence,
                before: None,
                after,
            });
        }
        assert_eq!(all(&directory, &[]), (4, vec![1, 4, 2, 3]));
        directory.apply(&Change {
            sequence: 2,
            before: entry(2, "x"),
            after: None,
        });
        directory.apply(&Change {
            sequence: 1,
            before: entry(1, "x"),
            after: entry(3, "y"),
        });
        assert_eq!(all(&directory, &[]), (3, vec![4, 1, 3]));
        assert_eq!(all(&directory, &["y".to_owned()]), (1, vec![1]));
        assert_eq!(all(&directory, &["none".to_owned()]), (0, vec![]));
        assert_eq!(
            (directory.images(), directory.distinct().collect()),
            (3, vec![(Length::L24, 2)])
        );
    }
}
