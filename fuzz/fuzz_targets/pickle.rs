//! Arbitrary bytes as a `torch.save` file: read or refused, in bounded memory.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = scihcgrl_pickle::read_state_dict(bytes);
});
