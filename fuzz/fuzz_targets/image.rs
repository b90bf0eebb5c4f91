//! Any bytes through `image::decode`: no abort, no memory fault, no pixels but those asked for.
//! Takes in the one file that decodes, not the crate, so that the address sanitizer sees every allocation.

#![no_main]

#[allow(dead_code)] // the crate uses all of it
#[path = "../../src/image.rs"]
mod image;

use std::sync::Once;

use libfuzzer_sys::fuzz_target;

static QUIET: Once = Once::new();

fuzz_target!(|bytes: &[u8]| {
    // A decoder's panic is caught by design; told, it must not end the run as the fuzzer's own hook would.
    QUIET.call_once(|| std::panic::set_hook(Box::new(|panic| eprintln!("caught: {panic}"))));
    if let Ok(decoded) = image::decode(bytes, 32) {
        assert_eq!(decoded.pixels.rgb.len(), 32 * 32 * 3);
        assert!(decoded.width > 0 && decoded.height > 0);
    }
});
