//! Taking something to do, so that nobody else does it: for a service alone there is nobody else.
//! Knows claims; not what is done.

use crate::{
    jobs::{
        Task,
        queue::store::{Store, StoreError},
        record::{Job, Range, State},
    },
    replica::Claim,
};

/// Something to do that is held here, as it is now.
pub struct Held<T> {
    /// What.
    pub what: T,
    /// What keeps others from it, where there are any.
    pub claim: Option<Claim>,
}

impl Store {
    /// A job that waits, or that another held who is gone; nothing where another holds it or it is over.
    pub async fn hold(&self, job: &Job) -> Result<Option<Held<Job>>, StoreError> {
        let Some(board) = &self.board else {
            return Ok(Some(Held {
                what: job.clone(),
                claim: None,
            }));
        };
        // One gallery is encoded with one model at a time.
        let key = match job.task {
            Task::Reencode { .. } => "reencode".to_owned(),
            _ => format!("job.{}", job.id),
        };
        let Some(claim) = board.claim(&key).await? else {
            return Ok(None);
        };
        let what = match self.at_board(board, job.id).await {
            // A newer worker has it, or will.
            Err(StoreError::Malformed { .. }) => None,
            what => what?,
        };
        match what.filter(|job| !job.state.is_over()) {
            Some(mut what) => {
                if what.state == State::Running {
                    what.resumed += 1;
                }
                Ok(Some(Held {
                    what,
                    claim: Some(claim),
                }))
            }
            None => {
                claim.release().await;
                Ok(None)
            }
        }
    }

    /// A range that nobody encodes just now.
    pub async fn hold_range(&self, range: &Range) -> Result<Option<Held<Range>>, StoreError> {
        let Some(board) = &self.board else {
            return Ok(None);
        };
        let claim = board
            .claim(&format!("range.{}.{}", range.job, range.first))
            .await?;
        Ok(claim.map(|claim| Held {
            what: range.clone(),
            claim: Some(claim),
        }))
    }
}
