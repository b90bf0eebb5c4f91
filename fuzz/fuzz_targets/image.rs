//! Arbitrary bytes through `image::decode`: no abort, no memory fault, only pixels of the requested
//! size. Formats that child processes decode run in children of this program. A child may crash,
//! which is counted; this process must not. Links only the crate that decodes, so that the address
//! sanitizer sees every allocation.

#![no_main]

use std::{
    env,
    process::exit,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use libfuzzer_sys::fuzz_target;
use scihcgrl_image::{
    DECODER_ARGUMENT, Input, decode, decoder_failures, run_decoder, set_decoder_program,
};

static FAILURES: AtomicU64 = AtomicU64::new(0);

fuzz_target!(
    init: {
        if env::args().nth(1).is_some_and(|argument| argument == DECODER_ARGUMENT) {
            exit(run_decoder().is_err().into());
        }
        set_decoder_program(env::current_exe().expect("a program"));
        // Panics of decoders are caught by design. The fuzzer's own hook would end the run.
        std::panic::set_hook(Box::new(|panic| eprintln!("caught: {panic}")));
    },
    |bytes: &[u8]| {
        if let Ok(decoded) = decode(bytes, Input::stretched(32)) {
            assert_eq!(decoded.pixels.rgb.len(), 32 * 32 * 3);
            assert!(decoded.width > 0 && decoded.height > 0);
        }
        let failures = decoder_failures();
        if FAILURES.swap(failures, Relaxed) != failures {
            eprintln!("decoder processes crashed: {failures}");
        }
    }
);
