//! The search of an index: which images are near a code, found in the directory and read from the store as of one moment.
//! Knows queries and what answers them; neither how codes are probed nor how records are put together.

use crate::{
    Found,
    api::Index,
    code::HashCode,
    memory::{
        ball::{Hit, Span, Taken},
        directory::Directory,
        filter::Filter,
        sketches::rank,
    },
    read::reading::Reading,
    types::{
        error::IndexError,
        query::{Order, Query},
    },
};

/// Up to so many images with a label are looked at one by one, which is quicker than to find those that are near among all.
const FEW: usize = 1024;
/// If this share of all images would have to be near, all are looked at.
const MUCH: u64 = 16;

impl Index {
    /// The images within a radius, or the nearest at any distance: exact, in the order asked for. A radius past the length finds all.
    ///
    /// # Errors
    /// [`IndexError::NoSuchLength`], [`Sketch`](IndexError::Sketch) where it cannot be compared with those of the index,
    /// [`Generation`](IndexError::Generation) where there is no such generation any more, [`Store`](IndexError::Store),
    /// [`Corrupt`](IndexError::Corrupt).
    pub fn search(&self, query: &Query) -> Result<Found, IndexError> {
        let store = &self.0.store;
        store.read_consistent(query.generation, |directory, reading| {
            let numbers = reading.numbers(&query.labels)?;
            let labelled = !query.labels.is_empty();
            let within = Within {
                directory,
                code: &query.code,
                at: directory.column_of(query.code.length())?,
                radius: query.radius,
                filter: labelled.then(|| directory.labelled(&numbers)),
            };
            let (found, ranked) = within.answer(query, reading)?;
            let wanted = labelled.then_some(&numbers[..]);
            let matches = ranked
                .iter()
                .map(|(hit, similarity)| reading.found(hit, *similarity, wanted));
            // One that is not as it was found makes all of it void.
            let matches = matches.collect::<Result<Option<_>, _>>()?;
            Ok(matches.map(|matches| Found { matches, ..found }))
        })
    }
}

/// The images that a query is for, whatever their order.
struct Within<'a> {
    directory: &'a Directory,
    code: &'a HashCode,
    /// The column of the code's length.
    at: usize,
    radius: Option<u32>,
    /// Those that have one of the labels asked for, if any were.
    filter: Option<Filter<'a>>,
}

impl Within<'_> {
    /// What is found but for the matches, and these as they stand in the directory.
    fn answer(
        &self,
        query: &Query,
        reading: &mut Reading,
    ) -> Result<(Found, Vec<rank::Ranked>), IndexError> {
        let Query { offset, limit, .. } = *query;
        let mut found = Found {
            total: 0,
            matches: Vec::new(),
            complete: true,
        };
        let sketch = query.sketch.as_ref();
        if let Some(sketch) = sketch {
            reading.comparable(sketch)?;
        }
        let (sketch, candidates, least) = match (sketch, query.order) {
            (Some(sketch), Order::Similarity { candidates, least }) if reading.has_sketches() => {
                let few = reading.in_memory() && self.directory.images() <= Order::ALL;
                let usual = if few {
                    Order::ALL as usize
                } else {
                    Order::USUAL
                };
                (sketch, candidates.unwrap_or(usual), least)
            }
            (sketch, _) => {
                let taken = self.take(reading, Span::page(offset, limit))?;
                found.total = taken.total;
                let similarities = match sketch {
                    Some(sketch) => reading.similarities(sketch, sequences(&taken.hits))?,
                    None => vec![None; taken.hits.len()],
                };
                let ranked = taken.hits.into_iter().zip(similarities);
                return Ok((found, ranked.collect()));
            }
        };
        let span = Span {
            offset: 0,
            limit: candidates,
            most: Order::MOST,
        };
        let taken = self.take(reading, span)?;
        found.complete = taken.complete;
        let page = offset..offset.saturating_add(limit);
        let similarities = reading.similarities(sketch, sequences(&taken.hits))?;
        let (candidates, mut ranked) = rank::rank(&taken.hits, &similarities, least, page);
        if least.is_some() {
            found.total = candidates as u64;
            return Ok((found, ranked));
        }
        found.total = taken.total;
        let left = limit - ranked.len();
        if left > 0 && taken.total > candidates as u64 {
            let rest = self.take(reading, Span::page(offset.max(candidates), left))?;
            let similarities = reading.similarities(sketch, sequences(&rest.hits))?;
            ranked.extend(rest.hits.into_iter().zip(similarities));
        }
        Ok((found, ranked))
    }

    /// Those of a span, by distance, then code, then age.
    fn take(&self, reading: &mut Reading, span: Span) -> Result<Taken, IndexError> {
        let (directory, code) = (self.directory, self.code);
        let bits = code.length().bits() as u32;
        match (self.radius.filter(|&radius| radius < bits), &self.filter) {
            (Some(radius), None) => Ok(directory.within(code, radius)?.take(span)),
            (Some(radius), Some(filter)) => {
                let ball = directory.within(code, radius)?;
                Ok(ball.take_filtered(filter.clone(), span, true))
            }
            (None, None) => Ok(Taken {
                total: directory.images(),
                ..directory.nearest(code, span.end() as u64)?.take(span)
            }),
            (None, Some(filter)) if filter.most() <= FEW => self.one_by_one(filter, reading, span),
            (None, Some(filter)) => self.nearest(filter, span),
        }
    }

    /// Those of a few images.
    fn one_by_one(
        &self,
        filter: &Filter,
        reading: &mut Reading,
        span: Span,
    ) -> Result<Taken, IndexError> {
        let mut hits = Vec::new();
        for sequence in filter.sequences() {
            if let Some(word) = reading.word(sequence, self.at)? {
                hits.push(Hit {
                    distance: (word ^ self.code.word()).count_ones(),
                    length: self.code.length(),
                    word,
                    sequence,
                });
            }
        }
        Ok(span.of(hits))
    }

    /// Those of many images, by balls that grow until they have enough of them.
    fn nearest(&self, filter: &Filter, span: Span) -> Result<Taken, IndexError> {
        let all = self.directory.images();
        // Labels do not tell which of their images have codes.
        let coded = self.directory.is_coded();
        // As many as have enough among them where labels and codes have nothing to do with each other, and somewhat more.
        let share = (filter.most() as f64 / all.max(1) as f64).min(1.0);
        let mut enough = match coded {
            true => ((span.end() as f64 / share * 1.2) as u64).saturating_add(64),
            false => all,
        };
        loop {
            if enough >= all / MUCH {
                let mut filter = filter.clone();
                let ball = self.directory.passing(self.code, &mut filter)?;
                return Ok(ball.take_filtered(filter, span, true));
            }
            let ball = self.directory.nearest(self.code, enough)?;
            let taken = ball.take_filtered(filter.clone(), span, false);
            if taken.total >= span.end() as u64 {
                let total = filter.count() as u64;
                return Ok(Taken { total, ..taken });
            }
            enough = enough.saturating_mul(4);
        }
    }
}

fn sequences(hits: &[Hit]) -> impl ExactSizeIterator<Item = u32> {
    hits.iter().map(|hit| hit.sequence)
}
