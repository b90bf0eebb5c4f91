//! How the process keeps the memory that libtorch frees. Knows nothing of tensors.

/// Half a gigabyte, for batches of images to encode.
pub const FOR_INFERENCE: i32 = 512 << 20;
/// Two gigabytes, the most the option can say: with half of one a short training took 46 seconds instead of 37.
pub const FOR_TRAINING: i32 = i32::MAX;

/// Keeps up to `most` bytes of freed memory. A forward pass frees and asks again for the same large buffers; glibc by default
/// gives each back to the kernel and takes its pages anew, which costs up to a third of the time on a CPU (docs/benchmarks.md).
pub fn keep_freed_memory(most: i32) {
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    let _ = most;
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (option, value) in [
        (libc::M_ARENA_MAX, 1),
        (libc::M_MMAP_MAX, 0),
        (libc::M_TOP_PAD, 64 << 20),
        (libc::M_TRIM_THRESHOLD, most),
    ] {
        // SAFETY: mallopt takes two numbers and changes nothing that is allocated.
        unsafe { libc::mallopt(option, value) };
    }
}
