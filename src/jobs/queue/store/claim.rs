//! Claims jobs and ranges, so that no other worker does them. A service alone needs no claims.

use crate::{
    jobs::{
        Task,
        queue::store::{Store, StoreError},
        record::{Job, Range, State},
    },
    replica::Claim,
};

/// A claimed job or range in its latest state.
pub struct Claimed<T> {
    pub item: T,
    /// None for a service alone.
    pub claim: Option<Claim>,
}

impl Store {
    /// Claims a job that is queued or whose worker is gone. Returns none if another worker has it
    /// or it has ended.
    pub async fn claim_job(&self, job: &Job) -> Result<Option<Claimed<Job>>, StoreError> {
        let Some(records) = &self.records else {
            return Ok(Some(Claimed {
                item: job.clone(),
                claim: None,
            }));
        };
        // A gallery is encoded with one model at a time, so all such jobs share one claim.
        let key = match job.task {
            Task::Reencode { .. } => "reencode".to_owned(),
            _ => format!("job.{}", job.id),
        };
        let Some(claim) = records.claim(&key).await? else {
            return Ok(None);
        };
        let latest = match self.latest(records, job.id).await {
            // A newer program wrote the job, and will run it.
            Err(StoreError::Malformed { .. }) => None,
            job => job?,
        };
        match latest.filter(|job| !job.state.is_over()) {
            Some(mut item) => {
                if item.state == State::Running {
                    item.resumed += 1;
                }
                Ok(Some(Claimed {
                    item,
                    claim: Some(claim),
                }))
            }
            None => {
                claim.release().await;
                Ok(None)
            }
        }
    }

    /// Claims a range. Returns none if another worker has it.
    pub async fn claim_range(&self, range: &Range) -> Result<Option<Claimed<Range>>, StoreError> {
        let Some(records) = &self.records else {
            return Ok(None);
        };
        let claim = records
            .claim(&format!("range.{}.{}", range.job, range.first))
            .await?;
        Ok(claim.map(|claim| Claimed {
            item: range.clone(),
            claim: Some(claim),
        }))
    }
}
