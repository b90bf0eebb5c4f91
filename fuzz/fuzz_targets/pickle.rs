//! Any bytes as the pickles of a `torch.save` file: read or refused, in bounded memory. The stack machine alone, so no libtorch is linked.

#![no_main]
#![allow(dead_code)] // what it builds is read by the rest of its module

use libfuzzer_sys::fuzz_target;

#[path = "../../src/model/pickle/machine.rs"]
mod machine;

fuzz_target!(|bytes: &[u8]| {
    let mut reader = machine::Reader::new(bytes);
    while reader.pickle().is_ok() {}
});
