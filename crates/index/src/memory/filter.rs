//! Keeps what filters let through, so that a search with a known filter reads no postings. All
//! directories that commits make of one another share a cache: after a commit, only the images that
//! it changed are tested again.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;

use crate::{
    memory::{passing::Passing, segment::Entry},
    types::filter::condition::Condition,
};

/// The maximum number of filters, and of parts of filters, that are kept.
const MAX_KEPT: usize = 256;
/// The maximum memory of the kept filters in bytes.
const MAX_BYTES: usize = 64 << 20;
/// The maximum number of changed images that are remembered. What was found before is found again
/// from the postings.
const MAX_CHANGED: usize = 1 << 16;

/// The images that a commit changed, each with its state after it; `None` if it was deleted.
pub type Changed = Arc<[(u32, Option<Entry>)]>;

/// What filters and their parts let through.
#[derive(Debug, Default)]
pub struct FilterCache {
    /// The latest used first.
    kept: Mutex<Vec<(Condition, Place)>>,
    /// The latest commits, each with the version of the directory after it.
    commits: Mutex<VecDeque<(u64, Changed)>>,
}

/// Locked by the search that computes it, so that others wait for it. `None` until it is known.
type Place = Arc<Mutex<Option<Known>>>;

/// What a filter lets through.
#[derive(Debug)]
struct Known {
    /// The version of the directory.
    version: u64,
    passing: Arc<Passing>,
}

/// How the images that pass are found.
pub trait Find {
    /// Why they are not found.
    type Error;

    /// Finds them from the postings.
    ///
    /// # Errors
    /// If something cannot be read.
    fn find(&mut self) -> Result<Passing, Self::Error>;

    /// Changes the images that passed before some commits; `None` if that is not possible.
    ///
    /// # Errors
    /// If something cannot be read.
    fn update(
        &mut self,
        before: &mut Passing,
        commits: &[Changed],
    ) -> Result<Option<()>, Self::Error>;
}

impl FilterCache {
    /// Remembers the images that a commit changed. `version` is that of the directory after it.
    pub fn commit(&self, version: u64, changed: Changed) {
        let mut commits = self.commits.lock();
        commits.push_back((version, changed));
        let mut images: usize = commits.iter().map(|(_, changed)| changed.len()).sum();
        while images > MAX_CHANGED
            && let Some((_, oldest)) = commits.pop_front()
        {
            images -= oldest.len();
        }
    }

    /// The changes of the commits after one version up to another, if all are remembered.
    fn between(&self, after: u64, up_to: u64) -> Option<Vec<Changed>> {
        let commits = self.commits.lock();
        let wanted = commits
            .iter()
            .filter(|(version, _)| (after + 1..=up_to).contains(version));
        let wanted: Vec<Changed> = wanted.map(|(_, changed)| changed.clone()).collect();
        (wanted.len() as u64 == up_to - after).then_some(wanted)
    }

    /// Returns the images that meet a condition in the directory of a version. Finds them if they
    /// are not known.
    ///
    /// # Errors
    /// Those of `find`; nothing is kept then.
    pub fn get<F: Find>(
        &self,
        version: u64,
        condition: &Condition,
        find: &mut F,
    ) -> Result<Arc<Passing>, F::Error> {
        let place = self.place(condition);
        let mut place = place.lock();
        if let Some(known) = place.as_mut().filter(|known| known.version <= version) {
            if known.version == version {
                return Ok(known.passing.clone());
            }
            if let Some(commits) = self.between(known.version, version) {
                // Copies the set only if a search still uses it.
                let passing = Arc::make_mut(&mut known.passing);
                match find.update(passing, &commits) {
                    Ok(Some(())) => {
                        known.version = version;
                        return Ok(known.passing.clone());
                    }
                    Ok(None) => {}
                    Err(error) => {
                        *place = None;
                        return Err(error);
                    }
                }
            }
        }
        let passing = Arc::new(find.find()?);
        // A directory of the past is seldom asked again.
        if place.as_ref().is_none_or(|known| known.version < version) {
            *place = Some(Known {
                version,
                passing: passing.clone(),
            });
        }
        drop(place);
        self.shrink();
        Ok(passing)
    }

    fn place(&self, condition: &Condition) -> Place {
        let mut kept = self.kept.lock();
        let known = kept.iter().position(|(known, _)| known == condition);
        match known {
            Some(at) => kept[..=at].rotate_right(1),
            None => kept.insert(0, (condition.clone(), Place::default())),
        }
        kept[0].1.clone()
    }

    /// Removes the filters whose last use is longest ago.
    fn shrink(&self) {
        let (mut count, mut bytes) = (0, 0);
        self.kept.lock().retain(|(_, place)| {
            count += 1;
            bytes += bytes_of(place);
            count <= MAX_KEPT && bytes <= MAX_BYTES
        });
    }

    /// Removes all filters.
    pub fn clear(&self) {
        self.kept.lock().clear();
    }

    /// The memory that the sets take, in bytes.
    pub fn bytes(&self) -> usize {
        let kept = self.kept.lock();
        kept.iter().map(|(_, place)| bytes_of(place)).sum()
    }
}

/// The memory of a place in bytes; 0 while it is computed.
fn bytes_of(place: &Place) -> usize {
    let known = place.try_lock();
    known.map_or(0, |known| {
        known.as_ref().map_or(0, |known| known.passing.bytes())
    })
}
