//! Following a replication log: applying its writes, and the position in it.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::{
    api::Index,
    disk::position::{self, LogPosition},
    types::{
        error::IndexError,
        write::{Log, Outcome, Write},
    },
    write::group::Group,
};

impl Index {
    /// Sends all later writes through a log, which [applies](Self::apply) them here. Only the first
    /// call has an effect.
    pub fn follow(&self, log: Arc<dyn Log>) {
        let _ = self.0.log.set(log);
    }

    /// Checks that a write is likely to succeed. Call it before work that a failed write would
    /// waste.
    ///
    /// # Errors
    /// [`IndexError::DiskFull`], [`Log`](IndexError::Log), [`Closed`](IndexError::Closed).
    pub fn check_writable(&self) -> Result<(), IndexError> {
        self.0.store.disk_space.check()?;
        self.0.log.get().map_or(Ok(()), |log| log.check())
    }

    /// Returns true if the store lost acknowledged commits. It then accepts no more writes, and
    /// only a restart shows the damage.
    pub fn is_lost(&self) -> bool {
        self.0.store.database().is_lost()
    }

    /// Returns true if the disk has space for writes. Asks the disk only if a write was refused
    /// before.
    pub fn has_disk_space(&self) -> bool {
        self.0.store.disk_space.check().is_ok()
    }

    /// Applies the write at a position of the log. All writes before it must have been given to
    /// this method. Returns when the write is queued; the receiver gets the outcome when the write
    /// and the position are durable. `own` says that this store sent the write; only then it
    /// [releases](Self::released_originals) the originals that become unreferenced.
    ///
    /// # Errors
    /// [`IndexError::Closed`].
    pub async fn apply(
        &self,
        at: LogPosition,
        write: Write,
        own: bool,
    ) -> Result<oneshot::Receiver<Result<Outcome, IndexError>>, IndexError> {
        let apply = move |group: &mut Group<'_>| {
            group.at(at, own);
            group.write(write)
        };
        self.0.writer.accept(apply).await
    }

    /// Skips an unreadable message of the log, and counts it.
    ///
    /// # Errors
    /// [`IndexError::Closed`].
    pub async fn skip_message(
        &self,
        at: LogPosition,
    ) -> Result<oneshot::Receiver<Result<Outcome, IndexError>>, IndexError> {
        let skip = move |group: &mut Group<'_>| {
            group.at(at, false);
            group.skip_message();
            Ok(Outcome::Nothing)
        };
        self.0.writer.accept(skip).await
    }

    /// Returns the position up to which a log is applied; `None` if the store never followed one.
    ///
    /// # Errors
    /// [`IndexError::Store`], [`Corrupt`](IndexError::Corrupt).
    pub fn position(&self) -> Result<Option<u64>, IndexError> {
        position::position(&*self.0.store.db()?)
    }

    /// Returns the last write of a log that the store has applied; `None` if it never followed one.
    ///
    /// # Errors
    /// As [`position`](Self::position).
    pub fn applied(&self) -> Result<Option<LogPosition>, IndexError> {
        LogPosition::read(&*self.0.store.db()?)
    }

    /// Returns a digest of everything in the store, and its position. Two stores of one gallery at
    /// one position have the same digest. Writes wait during the read.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn digest(&self) -> Result<(Option<u64>, String), IndexError> {
        let store = self.0.store.clone();
        let digest = move |_: &mut Group<'_>| {
            let db = store.db()?;
            Ok((position::position(&db)?, position::digest(&db)?))
        };
        self.0.writer.submit(digest).await
    }
}
