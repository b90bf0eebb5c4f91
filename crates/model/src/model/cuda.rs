//! libtorch's CUDA half, opened by name: nothing refers to its symbols, so the linker leaves it out, and one binary serves
//! machines with it and without. Knows no devices; it only makes them visible.

use std::sync::LazyLock;

static OPENED: LazyLock<Result<(), String>> = LazyLock::new(|| {
    // SAFETY: libtorch's own library, whose initialisers only register kernels; it stays loaded until the program ends.
    match unsafe { libloading::Library::new("libtorch_cuda.so") } {
        Ok(library) => {
            std::mem::forget(library);
            Ok(())
        }
        Err(error) => Err(error.to_string()),
    }
});

/// Opens it once. libtorch asks for CUDA only the first time, so this comes before every other question about it.
///
/// # Errors
/// In the loader's words, where the library or one it needs is not installed.
pub(super) fn open() -> Result<(), &'static str> {
    OPENED.as_ref().map(drop).map_err(String::as_str)
}
