//! Any bytes through `image::decode`: no abort, no memory fault, no pixels but those asked for.
//! Links the crate that decodes alone, so that the address sanitizer sees every allocation.

#![no_main]

use std::sync::Once;

use libfuzzer_sys::fuzz_target;

static QUIET: Once = Once::new();

fuzz_target!(|bytes: &[u8]| {
    // A decoder's panic is caught by design; told, it must not end the run as the fuzzer's own hook would.
    QUIET.call_once(|| std::panic::set_hook(Box::new(|panic| eprintln!("caught: {panic}"))));
    if let Ok(decoded) = scihcgrl_image::decode(bytes, scihcgrl_image::Input::stretched(32)) {
        assert_eq!(decoded.pixels.rgb.len(), 32 * 32 * 3);
        assert!(decoded.width > 0 && decoded.height > 0);
    }
});
