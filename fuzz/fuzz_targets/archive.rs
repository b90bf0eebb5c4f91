//! Arbitrary bytes as an export to import and as an archive to learn from. They are read or
//! refused, and an imported gallery is undamaged.

#![no_main]

use std::{fs, io::Cursor, path::PathBuf, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use scihcgrl::{
    snapshots::{self, Target},
    train::data,
};
use tokio::runtime::Runtime;

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| tempfile::tempdir().expect("a folder").keep());
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));

fuzz_target!(|input: &[u8]| {
    let file = FOLDER.join("archive.tar");
    fs::write(&file, input).expect("a file");
    let _ = data::list(&file);
    let data_dir = FOLDER.join("data");
    let target = Target {
        originals: data_dir.join("originals").display().to_string(),
        data_dir: data_dir.clone(),
        has_originals: false,
        cache_bytes: 16 << 20,
    };
    let imported = RUNTIME.block_on(snapshots::import(Cursor::new(input.to_vec()), &target));
    if let Ok((_, _, damage)) = imported {
        assert!(damage.is_empty(), "{damage:?}");
    }
    let _ = fs::remove_dir_all(data_dir);
});
