//! The memory limit of this process, and how soon the allocator returns freed memory to the
//! operating system.

use std::{
    fs,
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use tikv_jemalloc_ctl::raw;

/// Time in milliseconds for which [`ARENAS`] keep freed memory.
const DECAY_MS: isize = 2000;

/// The arenas of threads that [release memory quickly](release_quickly), one for each core.
static ARENAS: LazyLock<Vec<u32>> = LazyLock::new(|| {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    (0..cores).filter_map(|_| arena()).collect()
});
/// The number of threads that have such an arena.
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// Returns the bytes of memory that this process may use: the machine's memory, or its container's
/// limit if that is lower.
pub fn limit() -> Option<u64> {
    let text = |path: &str| fs::read_to_string(path).ok();
    let machine = text("/proc/meminfo").and_then(|text| {
        let mut lines = text.lines();
        let line = lines.find_map(|line| line.strip_prefix("MemTotal:"))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    });
    // The files of cgroups version 2 and 1. Without a limit, they contain a word or a huge number.
    let limits = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ];
    let container = limits.map(|path| text(path)?.trim().parse().ok());
    machine
        .into_iter()
        .chain(container.into_iter().flatten())
        .min()
}

/// Makes the allocator return what this thread allocates to the operating system `DECAY_MS` after
/// it is freed. For all other threads, such as those of a model, `.cargo/config.toml` sets the
/// time.
pub fn release_quickly() {
    let number = THREADS.fetch_add(1, Ordering::Relaxed);
    let Some(&arena) = ARENAS.get(number % ARENAS.len().max(1)) else {
        return;
    };
    // SAFETY: `thread.arena` is an `unsigned`, as is the value written.
    if let Err(error) = unsafe { raw::write(b"thread.arena\0", arena) } {
        tracing::debug!(%error, "a thread uses the shared arenas");
    }
}

/// Creates an arena.
fn arena() -> Option<u32> {
    // SAFETY: `arenas.create` is an `unsigned`, as is the value read.
    let arena: u32 = unsafe { raw::read(b"arenas.create\0") }.ok()?;
    let name = format!("arena.{arena}.dirty_decay_ms\0");
    // SAFETY: `dirty_decay_ms` is an `ssize_t`, as is the value written.
    unsafe { raw::write(name.as_bytes(), DECAY_MS) }.ok()?;
    Some(arena)
}
