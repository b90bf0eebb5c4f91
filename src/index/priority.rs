//! Which threads go first when there are fewer cores than work: those that answer, before those of the index.
//! Knows the operating system's scheduler and nothing of what the threads do.

/// So much nicer than others: about a third of their share where a core is wanted by both.
const NICE: i32 = 5;

/// From now on this thread, and those it starts, let others go first.
pub fn give_way() {
    // Elsewhere than on Linux this would be the whole process.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "the index's threads have the priority of all others");
    }
}
