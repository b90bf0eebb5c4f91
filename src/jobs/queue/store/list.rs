//! Lists jobs by age. Skips those whose records cannot be read: a newer program may have written
//! them.

use uuid::Uuid;

use crate::jobs::{
    queue::store::{JOB, Store, StoreError, id_in, key_of},
    record::Job,
};

impl Store {
    /// Returns jobs, newest first: those created before a job, or all.
    pub fn list(&self, before: Option<Uuid>, limit: usize) -> Result<Vec<Job>, StoreError> {
        self.newest_first(before)?.take(limit).collect()
    }

    /// Returns the newest job that matches.
    pub fn newest(&self, matches: impl Fn(&Job) -> bool) -> Result<Option<Job>, StoreError> {
        let found = |job: &Result<Job, _>| job.as_ref().map_or(true, &matches);
        self.newest_first(None)?.find(found).transpose()
    }

    fn newest_first(
        &self,
        before: Option<Uuid>,
    ) -> Result<impl Iterator<Item = Result<Job, StoreError>>, StoreError> {
        let end = before.map_or(vec![JOB + 1], |before| key_of(JOB, before));
        let tree = self.tree.open()?;
        let keys: Vec<_> = tree.range(vec![JOB]..end).keys().rev().collect();
        // Each job is opened and read by itself, so that the tree is not held during the whole
        // list.
        drop(tree);
        let keys = keys.into_iter();
        Ok(keys.filter_map(|key| self.read_or_skip(key).transpose()))
    }

    /// Returns the unfinished jobs, oldest first.
    pub fn unfinished(&self) -> Result<Vec<Job>, StoreError> {
        let tree = self.tree.open()?;
        let keys: Vec<_> = tree.scan_prefix([JOB]).keys().collect();
        drop(tree);
        let keys = keys.into_iter();
        let all = keys.filter_map(|key| self.read_or_skip(key).transpose());
        let unfinished =
            |job: &Result<Job, _>| job.as_ref().map_or(true, |job: &Job| !job.state.is_over());
        all.filter(unfinished).collect()
    }

    /// Reads a job. Returns none if its record is malformed, and logs that once per job.
    fn read_or_skip(&self, key: sled::Result<sled::IVec>) -> Result<Option<Job>, StoreError> {
        match self.get(id_in(&key?)) {
            Err(error @ StoreError::Malformed { id, .. }) => {
                if self.unreadable.lock().insert(id) {
                    tracing::error!(%error, "skipping a job whose record cannot be read");
                }
                Ok(None)
            }
            read => read,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, thread};

    use serde_json::json;

    use super::*;
    use crate::jobs::{FineTune, Progress, State, Task};
    use crate::{
        code::Length,
        index::{Index, IndexConfig, Requirement},
    };

    fn store(folder: &Path) -> Store {
        let index = Index::open(IndexConfig {
            path: folder.to_owned(),
            model: Requirement::Exact("a".to_owned()),
            precision: Requirement::Exact("float32".to_owned()),
            lengths: vec![Length::L24],
            sketch: None,
            sketch_storage: None,
            gallery: None,
            cache_bytes: 16 << 20,
        });
        Store::new(index.unwrap().tree("jobs"), None)
    }

    fn queued(task: Task) -> Job {
        Job {
            id: Uuid::now_v7(),
            task,
            state: State::Queued,
            priority: 0,
            owner: None,
            created_at_ms: 1,
            started_at_ms: None,
            finished_at_ms: None,
            resumed: 0,
            progress: Progress::default(),
            result: json!(null),
            error: None,
            position: None,
            revision: 0,
        }
    }

    /// A record as a newer program may have written it before this one replaced it.
    #[test]
    fn jobs_of_a_newer_program_are_read_or_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        let mut expected = Vec::new();
        let fine_tune = || queued(Task::FineTune(FineTune::default().into()));
        let change = |job: &Job, change: fn(&mut serde_json::Value)| {
            let mut record = json!(job);
            change(&mut record);
            let key = key_of(JOB, job.id);
            let record = record.to_string();
            let put = store.tree.write(|tree| tree.insert(key, record.as_bytes()));
            put.unwrap();
        };
        let with_more = fine_tune();
        change(&with_more, |record| {
            record["batch_order"] = json!("random");
            record["worker"] = json!({ "name": "a" });
        });
        expected.push(with_more);
        change(&fine_tune(), |record| record["kind"] = json!("translate"));
        change(&fine_tune(), |record| record["state"] = json!("paused"));
        let plain = queued(Task::Reencode {
            model: "a".to_owned(),
        });
        change(&plain, |_| {});
        expected.push(plain);
        assert_eq!(store.unfinished().unwrap(), expected);
        expected.reverse();
        assert_eq!(store.list(None, 10).unwrap(), expected);
        assert_eq!(store.newest(|_| true).unwrap().as_ref(), expected.first());
    }

    #[test]
    fn a_key_that_is_used_by_requests_at_the_same_time_creates_one_job() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        for round in 0..200 {
            let key = round.to_string();
            let add = || {
                let mut job = queued(Task::FindDuplicates {
                    model: "a".to_owned(),
                });
                let runtime = tokio::runtime::Builder::new_current_thread().build();
                let added = runtime.unwrap().block_on(store.add(&mut job, Some(&key)));
                added.unwrap().map_or(job.id, |earlier| earlier.id)
            };
            let ids: Vec<Uuid> = thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(add)).collect();
                let ids = threads.into_iter().map(|thread| thread.join().unwrap());
                ids.collect()
            });
            assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
            assert_eq!(store.list(None, 1000).unwrap().len(), round + 1);
        }
    }
}
