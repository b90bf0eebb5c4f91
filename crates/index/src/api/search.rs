//! Searches by code and sketch: finds images in the directory and reads their records from a
//! consistent view.

use crate::{
    api::Index,
    code::HashCode,
    memory::{
        ball::{Hit, Selection, Span},
        directory::Directory,
        filter::Filter,
        sketches::rank,
    },
    read::reading::Reading,
    types::{
        error::IndexError,
        query::{Order, Query, SearchResult},
    },
};

/// Up to this number of labelled images are compared one by one, which is faster than probing all
/// codes.
const MAX_ONE_BY_ONE: usize = 1024;
/// If a ball of more than 1/16 of all images is needed, all codes are read instead.
const SCAN_SHARE: u64 = 16;

impl Index {
    /// Finds the images within a radius, or the nearest at any distance. The result is exact, in
    /// the requested order. A radius beyond the length finds all images.
    ///
    /// # Errors
    /// [`IndexError::NoSuchLength`], [`Sketch`](IndexError::Sketch) if the sketch cannot be
    /// compared with those of the index, [`Generation`](IndexError::Generation) if the generation
    /// no longer exists, [`Store`](IndexError::Store), [`Corrupt`](IndexError::Corrupt).
    pub fn search(&self, query: &Query) -> Result<SearchResult, IndexError> {
        let store = &self.0.store;
        store.read_consistent(query.generation, |directory, reading| {
            let numbers = reading.numbers(&query.labels)?;
            let labelled = !query.labels.is_empty();
            let selector = Selector {
                directory,
                code: &query.code,
                at: directory.column_of(query.code.length())?,
                radius: query.radius,
                filter: labelled.then(|| directory.labelled(&numbers)),
            };
            let (found, ranked) = selector.answer(query, reading)?;
            let wanted = labelled.then_some(&numbers[..]);
            let matches = ranked
                .iter()
                .map(|(hit, similarity)| reading.found(hit, *similarity, wanted));
            // A match that changed since it was found makes the whole result invalid.
            let matches = matches.collect::<Result<Option<_>, _>>()?;
            Ok(matches.map(|matches| SearchResult { matches, ..found }))
        })
    }
}

/// The images that a query selects, before ordering.
struct Selector<'a> {
    directory: &'a Directory,
    code: &'a HashCode,
    /// The column of the code's length.
    at: usize,
    radius: Option<u32>,
    /// The images with any of the requested labels, if there are any.
    filter: Option<Filter<'a>>,
}

impl Selector<'_> {
    /// Returns the result without its matches, and the hits of the requested page with their
    /// similarities.
    fn answer(
        &self,
        query: &Query,
        reading: &mut Reading,
    ) -> Result<(SearchResult, Vec<rank::Ranked>), IndexError> {
        let Query { offset, limit, .. } = *query;
        let mut found = SearchResult {
            total: 0,
            matches: Vec::new(),
            complete: true,
        };
        let sketch = query.sketch.as_ref();
        if let Some(sketch) = sketch {
            reading.check_comparable(sketch)?;
        }
        let (sketch, candidates, min_similarity) = match (sketch, query.order) {
            (
                Some(sketch),
                Order::Similarity {
                    candidates,
                    min_similarity,
                },
            ) if reading.has_sketches() => {
                let few = reading.has_sketches_in_memory()
                    && self.directory.images() <= Order::ALL_CANDIDATES_UP_TO;
                let usual = if few {
                    usize::try_from(Order::ALL_CANDIDATES_UP_TO).unwrap_or(usize::MAX)
                } else {
                    Order::DEFAULT_CANDIDATES
                };
                (sketch, candidates.unwrap_or(usual), min_similarity)
            }
            (sketch, _) => {
                let selection = self.select(reading, Span::page(offset, limit))?;
                found.total = selection.total;
                let similarities = match sketch {
                    Some(sketch) => reading.similarities(sketch, sequences(&selection.hits))?,
                    None => vec![None; selection.hits.len()],
                };
                let ranked = selection.hits.into_iter().zip(similarities);
                return Ok((found, ranked.collect()));
            }
        };
        let span = Span {
            offset: 0,
            limit: candidates,
            extend_to: Order::MAX_CANDIDATES,
        };
        let selection = self.select(reading, span)?;
        found.complete = selection.complete;
        let page = offset..offset.saturating_add(limit);
        let similarities = reading.similarities(sketch, sequences(&selection.hits))?;
        let (candidates, mut ranked) =
            rank::rank(&selection.hits, &similarities, min_similarity, page);
        if min_similarity.is_some() {
            found.total = candidates as u64;
            return Ok((found, ranked));
        }
        found.total = selection.total;
        let left = limit - ranked.len();
        if left > 0 && selection.total > candidates as u64 {
            let rest = self.select(reading, Span::page(offset.max(candidates), left))?;
            let similarities = reading.similarities(sketch, sequences(&rest.hits))?;
            ranked.extend(rest.hits.into_iter().zip(similarities));
        }
        Ok((found, ranked))
    }

    /// Selects the images of a span, by distance, then code, then age.
    fn select(&self, reading: &mut Reading, span: Span) -> Result<Selection, IndexError> {
        let (directory, code) = (self.directory, self.code);
        let bits = code.length().max_distance();
        match (self.radius.filter(|&radius| radius < bits), &self.filter) {
            (Some(radius), None) => Ok(directory.within(code, radius)?.select(span)),
            (Some(radius), Some(filter)) => {
                let ball = directory.within(code, radius)?;
                Ok(ball.select_filtered(filter.clone(), span, true))
            }
            (None, None) => Ok(Selection {
                total: directory.images(),
                ..directory.nearest(code, span.end() as u64)?.select(span)
            }),
            (None, Some(filter)) if filter.upper_bound() <= MAX_ONE_BY_ONE => {
                self.one_by_one(filter, reading, span)
            }
            (None, Some(filter)) => self.nearest(filter, span),
        }
    }

    /// Compares the images of a small filter one by one.
    fn one_by_one(
        &self,
        filter: &Filter,
        reading: &mut Reading,
        span: Span,
    ) -> Result<Selection, IndexError> {
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
        Ok(span.select_from(hits))
    }

    /// Searches with a large filter, in balls that grow until they hold enough images.
    fn nearest(&self, filter: &Filter, span: Span) -> Result<Selection, IndexError> {
        let all = self.directory.images();
        // Labels are also on images without codes.
        let coded = self.directory.is_coded();
        // The ball size at which enough images pass if labels and codes are independent, plus a
        // margin.
        let share = (filter.upper_bound() as f64 / all.max(1) as f64).min(1.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative, and `as` caps it at the largest number"
        )]
        let mut enough = if coded {
            ((span.end() as f64 / share * 1.2) as u64).saturating_add(64)
        } else {
            all
        };
        loop {
            if enough >= all / SCAN_SHARE {
                let mut filter = filter.clone();
                let ball = self.directory.passing(self.code, &mut filter)?;
                return Ok(ball.select_filtered(filter, span, true));
            }
            let ball = self.directory.nearest(self.code, enough)?;
            let selection = ball.select_filtered(filter.clone(), span, false);
            if selection.total >= span.end() as u64 {
                let total = filter.count() as u64;
                return Ok(Selection { total, ..selection });
            }
            enough = enough.saturating_mul(4);
        }
    }
}

fn sequences(hits: &[Hit]) -> impl ExactSizeIterator<Item = u32> {
    hits.iter().map(|hit| hit.sequence)
}
