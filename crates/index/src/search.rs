//! The search of an index: which images are near a code, counted in the directory and read from the store as of one moment.
//! Knows queries and what answers them; neither how codes are probed nor how records are put together.

use super::{Found, Index, IndexError, Query, error::spell};

impl Index {
    /// The images within a radius: exact, by distance, then code, then age. A radius past the length finds all.
    ///
    /// # Errors
    /// [`IndexError::NoSuchLength`], [`Generation`](IndexError::Generation) where there is no such generation any more,
    /// [`Store`](IndexError::Store), [`Corrupt`](IndexError::Corrupt).
    pub fn search(&self, query: &Query) -> Result<Found, IndexError> {
        let Query {
            code,
            radius,
            limit,
            offset,
            labels,
            generation,
        } = query;
        let store = &self.0.store;
        let everything = *radius as usize >= code.length().bits();
        store.steady(*generation, |directory, reading| {
            let no_such_length = || IndexError::NoSuchLength {
                given: code.length(),
                expected: spell(directory.distinct().map(|(length, _)| length)),
            };
            let numbers = store.numbers(labels)?;
            let (total, hits) = if !labels.is_empty() {
                let filter = directory.labelled(&numbers);
                let ball = directory.within(code, *radius).ok_or_else(no_such_length)?;
                ball.filtered(&filter, *offset, *limit)
            } else if everything {
                let enough = offset.saturating_add(*limit) as u64;
                let ball = directory.nearest(code, enough).ok_or_else(no_such_length)?;
                (directory.images(), ball.window(*offset, *limit).1)
            } else {
                let ball = directory.within(code, *radius).ok_or_else(no_such_length)?;
                ball.window(*offset, *limit)
            };
            let wanted = (!labels.is_empty()).then_some(&numbers[..]);
            let matches = hits.iter().map(|hit| reading.found(hit, wanted));
            // One that is not as it was found makes all of it void.
            let matches = matches.collect::<Result<Option<_>, _>>()?;
            Ok(matches.map(|matches| Found { total, matches }))
        })
    }
}
