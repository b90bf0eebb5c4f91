//! Any bytes as a checkpoint's file: described and added to the models of a service, or refused, whatever its header says of sizes.

#![no_main]

use std::{fs, path::PathBuf, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use scihcgrl::registry::{self, Registry};

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| tempfile::tempdir().expect("a folder").keep());

fuzz_target!(|input: &[u8]| {
    let file = FOLDER.join("model.safetensors");
    fs::write(&file, input).expect("a file");
    if registry::describe(&file).is_ok() {
        let models = Registry::open(FOLDER.join("models")).expect("a folder of models");
        let _ = models.add(&file);
    }
});
