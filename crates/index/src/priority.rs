//! Scheduling priorities of threads: threads that answer requests first, then those of the index,
//! then jobs.

/// The work of a thread.
#[derive(Clone, Copy, Debug)]
pub enum Priority {
    /// The index: about a third of a normal share when a core is contended.
    Index,
    /// Jobs: about a seventieth of a normal share.
    Job,
}

impl Priority {
    fn nice(self) -> i32 {
        match self {
            Priority::Index => 5,
            Priority::Job => 19,
        }
    }

    /// Sets the priority of this thread and of the threads it starts.
    pub fn apply(self) {
        // On other systems this would change the whole process.
        #[cfg(target_os = "linux")]
        if let Err(error) = rustix::process::setpriority_process(None, self.nice()) {
            tracing::debug!(%error, "the priority of a thread could not be lowered");
        }
    }
}
