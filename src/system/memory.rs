//! How much memory there is, and how soon what is freed of it goes back to the operating system.
//! Knows the operating system and the allocator; nothing of what memory is for.

use std::{
    fs,
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use tikv_jemalloc_ctl::raw;

/// For how many milliseconds such an arena keeps what was freed.
const KEPT_MS: isize = 2000;

/// The arenas of threads that [give back soon](give_back_soon), as many as there are cores, and how many threads have one.
static ARENAS: LazyLock<Vec<u32>> = LazyLock::new(|| {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    (0..cores).filter_map(|_| arena()).collect()
});
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// How many bytes of memory this process may have: those of the machine, or those of its container if these are fewer.
pub fn limit() -> Option<u64> {
    let text = |path: &str| fs::read_to_string(path).ok();
    let machine = text("/proc/meminfo").and_then(|text| {
        let mut lines = text.lines();
        let line = lines.find_map(|line| line.strip_prefix("MemTotal:"))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    });
    // Of the second and the first version of cgroups; a word or a huge number if there is no limit.
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

/// Has what this thread allocates from now on go back to the operating system seconds after it is freed. What others allocate, such as the
/// buffers of a model, is kept for as long as `.cargo/config.toml` says.
pub fn give_back_soon() {
    let number = THREADS.fetch_add(1, Ordering::Relaxed);
    let Some(&arena) = ARENAS.get(number % ARENAS.len().max(1)) else {
        return;
    };
    // SAFETY: `thread.arena` is an `unsigned`, which is what is written.
    if let Err(error) = unsafe { raw::write(b"thread.arena\0", arena) } {
        tracing::debug!(%error, "a thread allocates from the arenas of all");
    }
}

/// A new arena.
fn arena() -> Option<u32> {
    // SAFETY: `arenas.create` is an `unsigned`, which is what is read.
    let arena: u32 = unsafe { raw::read(b"arenas.create\0") }.ok()?;
    let name = format!("arena.{arena}.dirty_decay_ms\0");
    // SAFETY: it is an `ssize_t`, which is what is written.
    unsafe { raw::write(name.as_bytes(), KEPT_MS) }.ok()?;
    Some(arena)
}
