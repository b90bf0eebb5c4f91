//! What is said of a store that is not whole: the thing by its name, what is wrong with it, and which images it concerns.
//! Knows how pages are numbered; nothing of how damage is found.

use std::fmt;

use serde::Serialize;

use crate::{
    disk::{page::SLOTS, sketch_page},
    types::error::IndexError,
};

/// Something in the store that cannot be read or contradicts the rest, found when it was opened or checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The thing that is damaged, by name.
    pub what: String,
    /// What is wrong with it.
    pub why: String,
}

impl Damage {
    /// Of a page of rows.
    pub fn rows(number: u32, why: &str) -> Self {
        Damage::page(format!("row page {number}"), number, SLOTS, why)
    }

    /// Of a page of a generation's codes.
    pub fn codes(number: u32, generation: u32, why: &str) -> Self {
        let what = format!("code page {number} of generation {generation}");
        Damage::page(what, number, SLOTS, why)
    }

    /// Of a page of a generation's sketches.
    pub fn sketches(number: u32, generation: u32, why: &str) -> Self {
        let what = format!("sketch page {number} of generation {generation}");
        Damage::page(what, number, sketch_page::SLOTS, why)
    }

    fn page(what: String, number: u32, slots: u32, why: &str) -> Self {
        let (first, last) = (number * slots, number * slots + (slots - 1));
        let why = format!("{why}; the images are those with sequence numbers {first} to {last}");
        Damage { what, why }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}

impl From<Damage> for IndexError {
    fn from(Damage { what, why }: Damage) -> Self {
        IndexError::Corrupt { what, why }
    }
}
