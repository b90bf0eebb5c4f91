//! Where sketches are kept while an index is open: in memory where there is room for them.
//! Knows what the operating system says of memory; nothing of what is in a sketch.

use std::{fs, str::FromStr};

/// Where the sketches of an open index are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// In memory: some hundred bytes an image.
    Memory,
    /// On disk alone, to be read for each search.
    Disk,
}

impl FromStr for Kept {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "memory" => Ok(Kept::Memory),
            "disk" => Ok(Kept::Disk),
            _ => Err("it must be memory or disk".to_owned()),
        }
    }
}

impl Kept {
    /// In memory if they take no more than half of what is free.
    pub fn suiting(bytes: u64) -> Self {
        match free() {
            Some(free) if bytes > free / 2 => Kept::Disk,
            _ => Kept::Memory,
        }
    }
}

/// How many bytes of memory this process may still take, where that can be told: what the machine has, and what is left of a container's limit.
fn free() -> Option<u64> {
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("MemAvailable:"))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    });
    // "max" where there is no limit.
    let container = number("/sys/fs/cgroup/memory.max").map(|limit| {
        let taken = number("/sys/fs/cgroup/memory.current").unwrap_or(0);
        limit.saturating_sub(taken)
    });
    machine.into_iter().chain(container).min()
}
