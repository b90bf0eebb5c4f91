//! Keeps the number of segments small: the writer merges small ones at once, and a background
//! thread merges large ones.

use std::{
    io,
    ops::Range,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use crate::{memory::segment::Segment, priority::Priority, view::store::Store};

/// Segments of fewer images are small: the writer merges them within milliseconds.
const SMALL_SEGMENT: usize = 8192;
/// A segment is merged with the newer ones once they are together larger than this fraction (1/4)
/// of it.
const MERGE_RATIO: usize = 4;
/// The same for large segments after a time without writes.
const IDLE_MERGE_RATIO: usize = 64;
/// The time without writes after which [`IDLE_MERGE_RATIO`] applies.
const IDLE_AFTER: Duration = Duration::from_secs(1);

/// Chooses the small segments to merge. Small segments come last.
pub fn small(segments: &[Arc<Segment>]) -> Option<Range<usize>> {
    let large = count_large(segments);
    let range = worth_merging(&segments[large..], MERGE_RATIO)?;
    Some(large + range.start..large + range.end)
}

/// Chooses the large segments to merge.
fn large(segments: &[Arc<Segment>], part: usize) -> Option<Range<usize>> {
    worth_merging(&segments[..count_large(segments)], part)
}

/// Counts the large segments: those before the first small one.
fn count_large(segments: &[Arc<Segment>]) -> usize {
    let small = segments
        .iter()
        .position(|segment| segment.len() < SMALL_SEGMENT);
    small.unwrap_or(segments.len())
}

/// Returns the range from the first segment that is small compared to those after it, to the last
/// segment.
fn worth_merging(segments: &[Arc<Segment>], part: usize) -> Option<Range<usize>> {
    let mut newer: usize = segments.iter().map(|segment| segment.len()).sum();
    for (at, segment) in segments.iter().enumerate() {
        newer -= segment.len();
        if newer > 0 && newer >= segment.len() / part {
            return Some(at..segments.len());
        }
    }
    None
}

/// The handle of the thread that merges large segments. Dropping it stops the thread after its
/// current merge.
pub struct Merger(mpsc::SyncSender<()>);

impl Merger {
    /// Starts the thread.
    pub fn start(store: Arc<Store>) -> io::Result<Self> {
        // One pending call is enough, because further ones would have no other effect.
        let (calls, called) = mpsc::sync_channel(1);
        let run = move || {
            Priority::Index.apply();
            run(&store, &called);
        };
        thread::Builder::new()
            .name("index-merger".to_owned())
            .spawn(run)?;
        Ok(Merger(calls))
    }

    /// Wakes the thread after a commit.
    pub fn wake(&self) {
        let _ = self.0.try_send(());
    }
}

fn run(store: &Store, called: &mpsc::Receiver<()>) {
    while called.recv().is_ok() {
        // Merges after each commit, and once more when idle.
        loop {
            merge_large(store, MERGE_RATIO);
            match called.recv_timeout(IDLE_AFTER) {
                Ok(()) => {}
                Err(mpsc::RecvTimeoutError::Timeout) => break,
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
        }
        merge_large(store, IDLE_MERGE_RATIO);
    }
}

/// Waits until this thread holds the last reference to the replaced segments: freeing a large
/// segment takes tens of milliseconds, which a reader must not spend.
fn merge_large(store: &Store, part: usize) {
    while let Some(replaced) = store.merge(|segments| large(segments, part)) {
        while replaced.iter().any(|part| Arc::strong_count(part) > 1) {
            thread::sleep(Duration::from_millis(1));
        }
    }
}
