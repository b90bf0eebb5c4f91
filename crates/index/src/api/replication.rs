//! Writes as a log keeps them: stores that apply the same in the same order are the same, whatever groups they are committed in.
//! Knows what a write says and how far a store has come; neither where a log is nor who else applies it.

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
    /// Has all writes from now on go to a log first; it [applies](Self::apply) them here. The first that is given stays.
    pub fn follow(&self, log: Arc<dyn Log>) {
        let _ = self.0.log.set(log);
    }

    /// Whether writes are likely to be done, for whoever does something before that would be left behind otherwise.
    ///
    /// # Errors
    /// [`IndexError::DiskFull`], [`Log`](IndexError::Log), [`Closed`](IndexError::Closed).
    pub fn check(&self) -> Result<(), IndexError> {
        self.0.store.room.check()?;
        self.0.log.get().map_or(Ok(()), |log| log.check())
    }

    /// Whether the store lacks commits that were acknowledged. It accepts no more writes then, and only a restart shows what is damaged.
    pub fn is_lost(&self) -> bool {
        self.0.store.database().is_lost()
    }

    /// Whether the disk has room for writes. Once it was full, this asks it.
    pub fn has_room(&self) -> bool {
        self.0.store.room.check().is_ok()
    }

    /// Does a write: by way of the log, if there is one.
    pub(crate) async fn write(&self, write: Write) -> Result<Outcome, IndexError> {
        match self.0.log.get() {
            None => self.0.writer.submit(|group| group.write(write)).await,
            Some(log) => {
                // Once it is in the log, the caller would have to wait for room.
                self.0.store.room.check()?;
                log.append(write).await
            }
        }
    }

    /// Applies the write at a position of the log, of which all before it were given here, and returns when its turn has come; what came of it
    /// is told when it is durable, along with the position. `own` says whether this store is the one that asked for it, which then
    /// [releases](Self::released) what rows let go of.
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

    /// As [`apply`](Self::apply), of a message that no program can read. The store counts it.
    ///
    /// # Errors
    /// [`IndexError::Closed`].
    pub async fn pass_over(
        &self,
        at: LogPosition,
    ) -> Result<oneshot::Receiver<Result<Outcome, IndexError>>, IndexError> {
        let pass_over = move |group: &mut Group<'_>| {
            group.at(at, false);
            group.pass_over();
            Ok(Outcome::Nothing)
        };
        self.0.writer.accept(pass_over).await
    }

    /// How much of a log the store has applied; none where it never followed one.
    ///
    /// # Errors
    /// [`IndexError::Store`], [`Corrupt`](IndexError::Corrupt).
    pub fn position(&self) -> Result<Option<u64>, IndexError> {
        position::position(&*self.0.store.db()?)
    }

    /// The last write of a log that the store has applied; none where it never followed one.
    ///
    /// # Errors
    /// As [`position`](Self::position).
    pub fn applied(&self) -> Result<Option<LogPosition>, IndexError> {
        LogPosition::read(&*self.0.store.db()?)
    }

    /// A digest of all that the store has, and the position of the log that it is of: two stores of one gallery have the same at the same
    /// position. Writes wait while it reads.
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
