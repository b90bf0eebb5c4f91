//! Opens libtorch's CUDA half by name. Nothing refers to its symbols, so the linker leaves it out.
//! One binary then serves machines with and without it.

use std::sync::LazyLock;

static OPENED: LazyLock<Result<(), String>> = LazyLock::new(|| {
    // SAFETY: libtorch's own library; its initialisers only register kernels, and it stays loaded
    // until the program ends.
    match unsafe { libloading::Library::new("libtorch_cuda.so") } {
        Ok(library) => {
            std::mem::forget(library);
            Ok(())
        }
        Err(error) => Err(error.to_string()),
    }
});

/// Opens the library once. libtorch looks for CUDA only on the first request for it, so call this
/// before any such request.
///
/// # Errors
/// The loader's message if the library, or one that it needs, is not installed.
pub(crate) fn open() -> Result<(), &'static str> {
    OPENED.as_ref().map(drop).map_err(String::as_str)
}
