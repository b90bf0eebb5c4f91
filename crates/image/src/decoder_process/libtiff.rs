//! The functions of libtiff, and the in-memory files that they read.

use std::{
    ffi::{c_char, c_int, c_void},
    marker::PhantomData,
    ptr::null,
    sync::OnceLock,
};

use crate::decoder_process::{answer::Failure, library};

library::functions!(
    pub(super)
    Tiff {
        TIFFClientOpen: fn(
            *const c_char, *const c_char, *mut c_void,
            unsafe extern "C" fn(*mut c_void, *mut c_void, isize) -> isize,
            unsafe extern "C" fn(*mut c_void, *mut c_void, isize) -> isize,
            unsafe extern "C" fn(*mut c_void, u64, c_int) -> u64,
            unsafe extern "C" fn(*mut c_void) -> c_int,
            unsafe extern "C" fn(*mut c_void) -> u64,
            unsafe extern "C" fn(*mut c_void, *mut *mut c_void, *mut u64) -> c_int,
            unsafe extern "C" fn(*mut c_void, *mut c_void, u64),
        ) -> *mut c_void;
        TIFFClose: fn(*mut c_void);
        TIFFSetErrorHandler: fn(*const c_void) -> *const c_void;
        TIFFSetWarningHandler: fn(*const c_void) -> *const c_void;
        TIFFRGBAImageOK: fn(*mut c_void, *mut c_char) -> c_int;
        TIFFReadRGBAImageOriented: fn(*mut c_void, u32, u32, *mut u32, c_int, c_int) -> c_int;
        TIFFScanlineSize64: fn(*mut c_void) -> u64;
        TIFFReadScanline: fn(*mut c_void, *mut u8, u32, u16) -> c_int;
        TIFFTileSize64: fn(*mut c_void) -> u64;
        TIFFTileRowSize64: fn(*mut c_void) -> u64;
        TIFFReadTile: fn(*mut c_void, *mut u8, u32, u32, u32, u16) -> isize;
    }
);

/// Opens libtiff.
///
/// # Errors
/// [`Failure::Missing`].
pub(super) fn load() -> Result<&'static Tiff, Failure> {
    static TIFF: OnceLock<Option<Tiff>> = OnceLock::new();
    if TIFF.get().is_none() {
        let library = library::open("libtiff.so.6", "libtiff")
            .or_else(|_| library::open("libtiff.so.5", "libtiff"))?;
        let _ = TIFF.set(Tiff::of(library));
    }
    let library = TIFF.get().and_then(Option::as_ref);
    library.ok_or(Failure::Missing("a newer libtiff"))
}

/// An in-memory file, and the position of the next read.
pub(super) struct Memory<'a> {
    bytes: &'a [u8],
    at: u64,
}

impl<'a> Memory<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Memory { bytes, at: 0 }
    }
}

/// An open TIFF.
pub(super) struct Open<'m> {
    pub(super) library: &'static Tiff,
    /// libtiff's handle.
    pub(super) file: *mut c_void,
    memory: PhantomData<&'m mut ()>,
}

impl<'m> Open<'m> {
    /// Opens a file. Returns `None` if libtiff cannot read it.
    pub(super) fn new(library: &'static Tiff, memory: &'m mut Memory<'_>) -> Option<Self> {
        let handle = (&raw mut *memory).cast();
        let (name, mode) = (c"picture".as_ptr(), c"r".as_ptr());
        // SAFETY: the calls follow libtiff's header; `memory` is borrowed as long as the file is
        // open.
        let file = unsafe {
            (library.TIFFSetErrorHandler)(null());
            (library.TIFFSetWarningHandler)(null());
            (library.TIFFClientOpen)(
                name, mode, handle, read, read, seek, close, size, map, unmap,
            )
        };
        (!file.is_null()).then_some(Open {
            library,
            file,
            memory: PhantomData,
        })
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        // SAFETY: the file is open, and is not used afterwards.
        unsafe { (self.library.TIFFClose)(self.file) }
    }
}

unsafe extern "C" fn read(memory: *mut c_void, to: *mut c_void, length: isize) -> isize {
    // SAFETY: libtiff passes the handle that it was given, and a buffer of the length it asks for.
    unsafe {
        let memory = &mut *memory.cast::<Memory>();
        let start = usize::try_from(memory.at)
            .unwrap_or(usize::MAX)
            .min(memory.bytes.len());
        let length = usize::try_from(length)
            .unwrap_or(0)
            .min(memory.bytes.len() - start);
        to.cast::<u8>()
            .copy_from(memory.bytes[start..].as_ptr(), length);
        memory.at += length as u64;
        // Not negative: it is at most the length that libtiff asked for.
        length.cast_signed()
    }
}

unsafe extern "C" fn seek(memory: *mut c_void, by: u64, whence: c_int) -> u64 {
    // SAFETY: as above.
    let memory = unsafe { &mut *memory.cast::<Memory>() };
    let origin = match whence {
        1 => memory.at,
        2 => memory.bytes.len() as u64,
        _ => 0,
    };
    memory.at = origin.wrapping_add(by);
    memory.at
}

unsafe extern "C" fn size(memory: *mut c_void) -> u64 {
    // SAFETY: as above.
    let memory = unsafe { &*memory.cast::<Memory>() };
    memory.bytes.len() as u64
}

unsafe extern "C" fn map(memory: *mut c_void, base: *mut *mut c_void, length: *mut u64) -> c_int {
    // SAFETY: as above; libtiff only reads the mapping.
    unsafe {
        let memory = &*memory.cast::<Memory>();
        *base = memory.bytes.as_ptr().cast_mut().cast();
        *length = memory.bytes.len() as u64;
    }
    1
}

unsafe extern "C" fn unmap(_: *mut c_void, _: *mut c_void, _: u64) {}

unsafe extern "C" fn close(_: *mut c_void) -> c_int {
    0
}
