//! Opening a library by its file's name, and finding what it exports.
//! Knows no library in particular.

use libloading::Library;

use super::Failed;

/// Opens a library, which then stays open.
///
/// # Errors
/// [`Failed::Missing`] if it is not installed.
pub(super) fn open(file: &str, name: &'static str) -> Result<&'static Library, Failed> {
    // SAFETY: a library of the system's, which does nothing when it is loaded but set itself up.
    let library = unsafe { Library::new(file) };
    Ok(Box::leak(Box::new(
        library.map_err(|_| Failed::Missing(name))?,
    )))
}

/// Finds functions by their names, as members of a struct. The types of the members are those of the library's header.
macro_rules! functions {
    ($visible:vis $name:ident { $($function:ident: fn($($argument:ty),* $(,)?) $(-> $result:ty)?;)* }) => {
        #[allow(non_snake_case)] // The library's own names.
        $visible struct $name { $(pub(super) $function: unsafe extern "C" fn($($argument),*) $(-> $result)?,)* }

        impl $name {
            fn of(library: &'static libloading::Library) -> Option<Self> {
                // SAFETY: the types are copied from the library's header.
                unsafe { Some($name { $($function: *library.get(concat!(stringify!($function), "\0").as_bytes()).ok()?,)* }) }
            }
        }
    };
}
pub(super) use functions;
