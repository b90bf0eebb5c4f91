//! Opens shared libraries and finds their functions.

use libloading::Library;

use crate::decoder_process::answer::Failure;

/// Opens a library by its file's name, for the life of the process.
///
/// # Errors
/// [`Failure::Missing`] if it is not installed.
pub(super) fn open(file: &str, name: &'static str) -> Result<&'static Library, Failure> {
    // SAFETY: a library of the system; loading it only runs its own initialisers.
    let library = unsafe { Library::new(file) };
    Ok(Box::leak(Box::new(
        library.map_err(|_| Failure::Missing(name))?,
    )))
}

/// Declares a struct of functions, found by their names. Their types are those in the library's
/// header.
macro_rules! functions {
    ($visible:vis $name:ident { $($function:ident: fn($($argument:ty),* $(,)?) $(-> $result:ty)?;)* }) => {
        #[allow(non_snake_case)] // the library's own names
        $visible struct $name { $(pub(super) $function: unsafe extern "C" fn($($argument),*) $(-> $result)?,)* }

        impl $name {
            pub(super) fn of(library: &'static libloading::Library) -> Option<Self> {
                // SAFETY: the types are copied from the library's header.
                unsafe { Some($name { $($function: *library.get(concat!(stringify!($function), "\0").as_bytes()).ok()?,)* }) }
            }
        }
    };
}
pub(super) use functions;
