//! Any bytes through `image::decode`: no abort, no memory fault, no pixels but those asked for. What other processes decode, this program
//! decodes as those processes: they may be lost, which is counted, and this one not.
//! Links the crate that decodes alone, so that the address sanitizer sees every allocation.

#![no_main]

use std::{
    env,
    process::exit,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use libfuzzer_sys::fuzz_target;
use scihcgrl_image::{DECODER, Input, decode, decode_by, decode_pictures, lost_decoders};

static LOST: AtomicU64 = AtomicU64::new(0);

fuzz_target!(
    init: {
        if env::args().nth(1).is_some_and(|argument| argument == DECODER) {
            exit(decode_pictures().is_err().into());
        }
        decode_by(env::current_exe().expect("a program"));
        // A decoder's panic is caught by design; told, it must not end the run as the fuzzer's own hook would.
        std::panic::set_hook(Box::new(|panic| eprintln!("caught: {panic}")));
    },
    |bytes: &[u8]| {
        if let Ok(decoded) = decode(bytes, Input::stretched(32)) {
            assert_eq!(decoded.pixels.rgb.len(), 32 * 32 * 3);
            assert!(decoded.width > 0 && decoded.height > 0);
        }
        let lost = lost_decoders();
        if LOST.swap(lost, Relaxed) != lost {
            eprintln!("decoders lost: {lost}");
        }
    }
);
