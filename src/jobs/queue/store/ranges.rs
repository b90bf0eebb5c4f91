//! The stored ranges of jobs that several workers encode.

use futures_util::{TryStreamExt, stream};
use uuid::Uuid;

use crate::{
    jobs::{
        queue::store::{RANGE, Store, StoreError, id_in, key_of, numbered, read, revision},
        record::Range,
    },
    replica::SharedRecordsError,
};

const MAX_CONCURRENT_WRITES: usize = 32;

impl Store {
    /// Returns the ranges of a job, or of all jobs.
    pub fn ranges(&self, job: Option<Uuid>) -> Result<Vec<Range>, StoreError> {
        let prefix = job.map_or(vec![RANGE], |id| key_of(RANGE, id));
        let mut ranges = Vec::new();
        let tree = self.tree.open()?;
        for key in tree.scan_prefix(prefix).keys() {
            let key = key?;
            let revision = revision(&tree, &key)?;
            if let Some(value) = tree.get(&key)? {
                let range: Range = read(id_in(&key), &value)?;
                ranges.push(Range { revision, ..range });
            }
        }
        Ok(ranges)
    }

    /// Writes ranges, except those that another worker wrote since they were read: its version says
    /// the same.
    pub async fn write_ranges(&self, ranges: Vec<Range>) -> Result<(), StoreError> {
        let all = stream::iter(ranges.into_iter().map(Ok));
        all.try_for_each_concurrent(MAX_CONCURRENT_WRITES, |range| async move {
            let key = numbered(RANGE, range.job, range.first);
            let record = serde_json::to_vec(&range)?;
            match self.put(key, record, range.revision).await {
                Err(StoreError::SharedRecords(SharedRecordsError::Conflict { .. })) => Ok(()),
                put => put.map(drop),
            }
        })
        .await
    }

    /// Removes the ranges of a job.
    pub async fn remove_ranges(&self, id: Uuid) -> Result<(), StoreError> {
        let all = stream::iter(self.ranges(Some(id))?.into_iter().map(Ok));
        all.try_for_each_concurrent(MAX_CONCURRENT_WRITES, |range| {
            self.delete(numbered(RANGE, id, range.first))
        })
        .await
    }
}
