//! Which threads go first when there are fewer cores than work: those that answer, then those of the index, then jobs.
//! Knows the operating system's scheduler and nothing of what the threads do.

/// What a thread works at.
#[derive(Clone, Copy, Debug)]
pub enum Rank {
    /// The index: about a third of a share where a core is wanted by others too.
    Index,
    /// Jobs, which take what nobody else wants: a seventieth of a share.
    Job,
}

impl Rank {
    fn nice(self) -> i32 {
        match self {
            Rank::Index => 5,
            Rank::Job => 19,
        }
    }

    /// From now on this thread, and those it starts, let those of higher rank go first.
    pub fn take(self) {
        // Elsewhere than on Linux this would be the whole process.
        #[cfg(target_os = "linux")]
        if let Err(error) = rustix::process::setpriority_process(None, self.nice()) {
            tracing::debug!(%error, "a thread has the priority of all others");
        }
    }
}
