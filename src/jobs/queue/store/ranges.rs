//! The ranges of a gallery that several workers encode, as they are kept.
//! Knows their keys; neither what a range is nor who encodes it.

use futures_util::{TryStreamExt, stream};
use uuid::Uuid;

use crate::{
    jobs::{
        queue::store::{RANGE, Store, StoreError, id_in, key_of, numbered, read, revision},
        record::Range,
    },
    replica::SharedRecordsError,
};

/// How many are written at a time.
const AT_ONCE: usize = 32;

impl Store {
    /// The ranges of a job, or of all.
    pub fn ranges(&self, of: Option<Uuid>) -> Result<Vec<Range>, StoreError> {
        let prefix = of.map_or(vec![RANGE], |id| key_of(RANGE, id));
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

    /// Writes ranges anew, but for those that others wrote since they were read, who say the same.
    pub async fn write_ranges(&self, ranges: Vec<Range>) -> Result<(), StoreError> {
        let all = stream::iter(ranges.into_iter().map(Ok));
        all.try_for_each_concurrent(AT_ONCE, |range| async move {
            let key = numbered(RANGE, range.job, range.first);
            let record = serde_json::to_vec(&range)?;
            match self.put(key, record, range.revision).await {
                Err(StoreError::SharedRecords {
                    source: SharedRecordsError::Taken { .. },
                }) => Ok(()),
                put => put.map(drop),
            }
        })
        .await
    }

    /// Forgets the ranges of a job.
    pub async fn forget_ranges(&self, id: Uuid) -> Result<(), StoreError> {
        let all = stream::iter(self.ranges(Some(id))?.into_iter().map(Ok));
        all.try_for_each_concurrent(AT_ONCE, |range| {
            self.delete(numbered(RANGE, id, range.first))
        })
        .await
    }
}
