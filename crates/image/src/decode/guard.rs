//! Turns a decoder's panic into an error, so that it affects one picture and ends no thread.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
};

use crate::types::{error::ImageError, kind::Kind};

thread_local! {
    /// True while the thread runs a decoder.
    static DECODING: Cell<bool> = const { Cell::new(false) };
}

/// Replaces the panic hook with one that ignores panics of decoders, which become
/// [`ImageError::Malformed`], and passes on all others. Call it once per process.
pub fn ignore_decoder_panics() {
    let before = take_hook();
    set_hook(Box::new(move |panic| {
        if !DECODING.get() {
            before(panic);
        }
    }));
}

/// Runs a decoder. Returns an error if it panics.
pub(crate) fn catch_panics<T>(
    kind: Kind,
    work: impl FnOnce() -> Result<T, ImageError>,
) -> Result<T, ImageError> {
    let before = DECODING.replace(true);
    let answer = catch_unwind(AssertUnwindSafe(work));
    DECODING.set(before);
    answer.unwrap_or_else(|_| Err(kind.malformed("the decoder panicked")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // allow-unwrap: a test stops where it fails

    use std::{
        panic::set_hook,
        sync::atomic::{AtomicU32, Ordering::Relaxed},
        thread,
    };

    use super::{catch_panics, ignore_decoder_panics};
    use crate::types::{error::ImageError, kind::Kind};

    #[test]
    fn only_a_panic_of_a_decoder_becomes_an_error() {
        static REPORTED: AtomicU32 = AtomicU32::new(0);
        set_hook(Box::new(|_| {
            REPORTED.fetch_add(1, Relaxed);
        }));
        ignore_decoder_panics();
        let answer = catch_panics(Kind::Tiff, || -> Result<(), ImageError> {
            panic!("a plane too many")
        });
        assert!(
            answer
                .unwrap_err()
                .to_string()
                .contains("the decoder panicked")
        );
        assert_eq!(REPORTED.load(Relaxed), 0);
        assert!(thread::spawn(|| panic!("elsewhere")).join().is_err());
        assert_eq!(REPORTED.load(Relaxed), 1);
    }
}
