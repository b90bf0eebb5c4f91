//! A copy of a store that is written to meanwhile: all keys as they were at one commit, as a stream, and the store that is made of one.
//! Knows keys and values as bytes; neither what they say nor where the stream goes.

use std::io::Write;

use crate::{
    api::Index,
    disk::{copy, position, schema},
    types::error::IndexError,
    write::group::Group,
};

/// The moment of which a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyPoint {
    /// How many commits there had been.
    pub commit: u64,
    /// How many images there were.
    pub images: u64,
    /// The version of the layout.
    pub schema: u32,
    /// How much of a log was applied, where the index follows one.
    pub position: Option<u64>,
}

impl Index {
    /// Writes all that is in the index to a stream, as it is at one commit, and tells which. Searches go on beside it, and so do writes but
    /// for some hundredths of a second.
    ///
    /// The tree is read key by key, and whatever changes from then on is written after it, up to a moment at which nothing does.
    ///
    /// # Errors
    /// [`IndexError::Copy`] if the stream fails, [`Reopening`](IndexError::Reopening) if the store was opened again after a failed write,
    /// [`Store`](IndexError::Store), [`Closed`](IndexError::Closed).
    pub async fn copy<W: Write + Send + 'static>(
        &self,
        to: W,
    ) -> Result<(W, CopyPoint), IndexError> {
        let store = self.0.store.clone();
        let stop = copy::Stop::default();
        let times = store.database().times();
        let db = store.db()?;
        let follower = copy::follow(db.watch_prefix([]), stop.0.clone())?;
        let of = store.clone();
        let written = blocking(move || copy::write_tree(of.database(), &db, to)).await;
        let cut = move |group: &mut Group<'_>| {
            // On the thread that writes: nothing changes until this is done.
            drop(stop);
            let changes = follower.join().unwrap_or_default();
            if store.database().times() != times {
                // What changed since then is not known.
                return Err(IndexError::Reopening);
            }
            let cut = CopyPoint {
                commit: group.commits(),
                images: store.view().images,
                schema: schema::SCHEMA,
                position: position::position(&*store.db()?)?,
            };
            Ok((changes, cut))
        };
        let (changes, cut) = self.0.writer.submit(cut).await?;
        let to = written?;
        let to = blocking(move || copy::write_changes(changes, cut.commit, to)).await?;
        Ok((to, cut))
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, IndexError> + Send + 'static,
) -> Result<T, IndexError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or(Err(IndexError::Closed))
}
