//! Searches by code and sketch: finds images in the directory and reads their records from a
//! consistent view.

use std::sync::Arc;

use crate::{
    api::Index,
    code::HashCode,
    memory::{
        directory::Directory,
        passing::Passing,
        selection::{Hit, Selection, Span},
        sketches::rank,
    },
    read::reading::Reading,
    types::{
        error::IndexError,
        query::{Order, Query, SearchResult},
        record::Record,
    },
};

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
            let Some(filtered) = reading.filtered(directory, query.filter.as_ref())? else {
                return Ok(None);
            };
            let selector = Selector {
                directory,
                code: &query.code,
                radius: query.radius,
                passing: filtered.passing.clone(),
            };
            let (found, ranked) = selector.answer(query, reading)?;
            let passes = |record: &Record| filtered.has(record);
            let matches = ranked
                .iter()
                .map(|(hit, similarity)| reading.found(hit, *similarity, passes));
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
    radius: Option<u32>,
    /// The images that pass the filter, if there is one.
    passing: Option<Arc<Passing>>,
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
                let selection = self.select(Span::page(offset, limit))?;
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
        let selection = self.select(span)?;
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
            let rest = self.select(Span::page(offset.max(candidates), left))?;
            let similarities = reading.similarities(sketch, sequences(&rest.hits))?;
            ranked.extend(rest.hits.into_iter().zip(similarities));
        }
        Ok((found, ranked))
    }

    fn select(&self, span: Span) -> Result<Selection, IndexError> {
        let passing = self.passing.as_deref();
        self.directory.select(self.code, self.radius, passing, span)
    }
}

fn sequences(hits: &[Hit]) -> impl ExactSizeIterator<Item = u32> {
    hits.iter().map(|hit| hit.sequence)
}
