//! Arbitrary bytes as a checkpoint. It is added to a service's models or refused, whatever sizes
//! its header claims.

#![no_main]

use std::{fs, path::PathBuf, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use scihcgrl::inference::registry::{self, Registry};

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| tempfile::tempdir().expect("a folder").keep());

fuzz_target!(|input: &[u8]| {
    let file = FOLDER.join("model.safetensors");
    fs::write(&file, input).expect("a file");
    if registry::describe(&file).is_ok() {
        let models = Registry::open(FOLDER.join("models")).expect("a folder of models");
        let _ = models.add(&file);
    }
});
