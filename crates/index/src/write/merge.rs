//! Merging segments, so that there are never many to search: small ones at once by the writer, large ones by a thread beside.
//! Knows when a merge is worth it; what it makes is the segment's.

use std::{
    io,
    ops::Range,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use crate::{memory::segment::Segment, priority::Rank, view::store::Store};

/// Segments that tell of fewer images are the writer's: it merges them within milliseconds.
const SMALL: usize = 8192;
/// A segment is merged with the newer ones as soon as these are together larger than such a part of it.
const PART: usize = 4;
/// The same of large ones, when nothing was written for a while.
const PART_IDLE: usize = 64;
/// How long that is.
const IDLE: Duration = Duration::from_secs(1);

/// Which of the small segments, which come last, are to be merged.
pub fn small(segments: &[Arc<Segment>]) -> Option<Range<usize>> {
    let large = large_of(segments);
    let range = worth_it(&segments[large..], PART)?;
    Some(large + range.start..large + range.end)
}

/// Which of the large segments are to be merged.
fn large(segments: &[Arc<Segment>], part: usize) -> Option<Range<usize>> {
    worth_it(&segments[..large_of(segments)], part)
}

/// How many large ones there are; after the first small one none counts as large.
fn large_of(segments: &[Arc<Segment>]) -> usize {
    let small = segments.iter().position(|segment| segment.len() < SMALL);
    small.unwrap_or(segments.len())
}

/// From the first segment that is small against those after it, to the last.
fn worth_it(segments: &[Arc<Segment>], part: usize) -> Option<Range<usize>> {
    let mut newer: usize = segments.iter().map(|segment| segment.len()).sum();
    for (at, segment) in segments.iter().enumerate() {
        newer -= segment.len();
        if newer > 0 && newer >= segment.len() / part {
            return Some(at..segments.len());
        }
    }
    None
}

/// The handle of the thread that merges large segments. It stops when dropped, after the merge it is at.
pub struct Merger(mpsc::SyncSender<()>);

impl Merger {
    /// Starts the thread.
    pub fn start(store: Arc<Store>) -> io::Result<Self> {
        // One call may wait; more would say the same.
        let (calls, called) = mpsc::sync_channel(1);
        let run = move || {
            Rank::Index.take();
            run(&store, &called);
        };
        thread::Builder::new()
            .name("index-merger".to_owned())
            .spawn(run)?;
        Ok(Merger(calls))
    }

    /// That there was a commit.
    pub fn wake(&self) {
        let _ = self.0.try_send(());
    }
}

fn run(store: &Store, called: &mpsc::Receiver<()>) {
    while called.recv().is_ok() {
        // Until nothing comes for a while, and then once more.
        loop {
            merge_large(store, PART);
            match called.recv_timeout(IDLE) {
                Ok(()) => {}
                Err(mpsc::RecvTimeoutError::Timeout) => break,
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
        }
        merge_large(store, PART_IDLE);
    }
}

/// A reader that is the last to hold a large segment would spend tens of milliseconds on giving its memory back.
fn merge_large(store: &Store, part: usize) {
    while let Some(replaced) = store.merge(|segments| large(segments, part)) {
        while replaced.iter().any(|part| Arc::strong_count(part) > 1) {
            thread::sleep(Duration::from_millis(1));
        }
    }
}
