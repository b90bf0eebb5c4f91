//! Copies a store as it is at one commit to a stream, while writes continue.

use std::io::Write;

use crate::{
    api::Index,
    disk::{copy, position, schema},
    types::error::IndexError,
    write::group::Group,
};

/// The commit at which a copy was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyPoint {
    /// The number of commits.
    pub commit: u64,
    /// The number of images.
    pub images: u64,
    /// The schema version.
    pub schema: u32,
    /// The position in the log, if the index follows one.
    pub position: Option<u64>,
}

impl Index {
    /// Writes the whole index to a stream, as it is at one commit, and returns that point. Searches
    /// and writes continue, except that writes wait for some hundredths of a second at the end.
    ///
    /// Reads the tree key by key and appends the keys that changed during the read.
    ///
    /// # Errors
    /// [`IndexError::Copy`] if the stream fails, [`Reopening`](IndexError::Reopening) if the store
    /// was reopened after a failed write, [`Store`](IndexError::Store),
    /// [`Closed`](IndexError::Closed).
    pub async fn copy<W: Write + Send + 'static>(
        &self,
        to: W,
    ) -> Result<(W, CopyPoint), IndexError> {
        let store = self.0.store.clone();
        let stop = copy::Stop::default();
        let times = store.database().open_count();
        let db = store.db()?;
        let follower = copy::follow(db.watch_prefix([]), stop.0.clone())?;
        let source = store.clone();
        let written = blocking(move || copy::write_tree(source.database(), &db, to)).await;
        let cut = move |group: &mut Group<'_>| {
            // Runs on the writer's thread, so nothing changes until it ends.
            drop(stop);
            let changes = follower.join().unwrap_or_default();
            if store.database().open_count() != times {
                // The changes since the reopening are not known.
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
