//! TIFF by libtiff: to 8 bits by its own conversion if it has one, else from the samples as it unpacks them (`raw`).
//! Knows libtiff's functions; a picture's tags are the directory's.

use std::{
    ffi::{CStr, c_char, c_int, c_void},
    ptr::null,
    sync::OnceLock,
};

use super::{Failed, Pixels, library, raw};
use crate::tiff::Directory;

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

/// A file in memory.
struct Memory<'a> {
    bytes: &'a [u8],
    at: u64,
}

/// An open TIFF.
pub(super) struct Open {
    pub(super) library: &'static Tiff,
    pub(super) file: *mut c_void,
}

impl Drop for Open {
    fn drop(&mut self) {
        // SAFETY: it was opened, and is not used any more.
        unsafe { (self.library.TIFFClose)(self.file) }
    }
}

pub(super) fn decode(bytes: &[u8]) -> Result<Pixels, Failed> {
    static TIFF: OnceLock<Option<Tiff>> = OnceLock::new();
    if TIFF.get().is_none() {
        let library = library::open("libtiff.so.6", "libtiff")
            .or_else(|_| library::open("libtiff.so.5", "libtiff"))?;
        let _ = TIFF.set(Tiff::of(library));
    }
    let library = TIFF.get().and_then(Option::as_ref);
    let library = library.ok_or(Failed::Missing("a newer libtiff"))?;
    let directory = Directory::read(bytes).map_err(|error| Failed::Refused(error.to_string()))?;
    let (width, height) = (directory.width, directory.height);
    let mut memory = Memory { bytes, at: 0 };
    let mut words = [0 as c_char; 1024];
    // SAFETY: as libtiff's header has it; `memory` outlives `open`, and the raster has room for what its directory tells, which is what
    // libtiff is asked for.
    unsafe {
        (library.TIFFSetErrorHandler)(null());
        (library.TIFFSetWarningHandler)(null());
        let handle = (&raw mut memory).cast();
        let (name, mode) = (c"picture".as_ptr(), c"r".as_ptr());
        let file = (library.TIFFClientOpen)(
            name, mode, handle, read, read, seek, close, size, map, unmap,
        );
        if file.is_null() {
            return Err("libtiff cannot open it".into());
        }
        let open = Open { library, file };
        if (library.TIFFRGBAImageOK)(open.file, words.as_mut_ptr()) == 0 || directory.is_raw() {
            return raw::decode(&open, &directory).ok_or_else(|| {
                let words = CStr::from_ptr(words.as_ptr()).to_string_lossy();
                Failed::Refused(format!("libtiff cannot convert it: {words}"))
            });
        }
        let mut raster = vec![0u32; width as usize * height as usize];
        // Rows come as they are stored. The caller turns the picture upright.
        let rows = directory.orientation() as c_int;
        if (library.TIFFReadRGBAImageOriented)(
            open.file,
            width,
            height,
            raster.as_mut_ptr(),
            rows,
            1,
        ) == 0
        {
            return Err("libtiff finds it broken".into());
        }
        let mut rgb = Vec::with_capacity(raster.len() * 3);
        for pixel in raster {
            // Colours are multiplied by alpha.
            let [red, green, blue, opacity] = pixel.to_le_bytes();
            rgb.extend([red, green, blue].map(|channel| channel.saturating_add(255 - opacity)));
        }
        Ok(Pixels { width, height, rgb })
    }
}

unsafe extern "C" fn read(memory: *mut c_void, to: *mut c_void, length: isize) -> isize {
    // SAFETY: libtiff passes on what it was given, and room for as much as it asks for.
    unsafe {
        let memory = &mut *memory.cast::<Memory>();
        let from = usize::try_from(memory.at)
            .unwrap_or(usize::MAX)
            .min(memory.bytes.len());
        let length = usize::try_from(length)
            .unwrap_or(0)
            .min(memory.bytes.len() - from);
        to.cast::<u8>()
            .copy_from(memory.bytes[from..].as_ptr(), length);
        memory.at += length as u64;
        length as isize
    }
}

unsafe extern "C" fn seek(memory: *mut c_void, by: u64, whence: c_int) -> u64 {
    // SAFETY: as above.
    let memory = unsafe { &mut *memory.cast::<Memory>() };
    let from = match whence {
        1 => memory.at,
        2 => memory.bytes.len() as u64,
        _ => 0,
    };
    memory.at = from.wrapping_add(by);
    memory.at
}

unsafe extern "C" fn size(memory: *mut c_void) -> u64 {
    // SAFETY: as above.
    let memory = unsafe { &*memory.cast::<Memory>() };
    memory.bytes.len() as u64
}

unsafe extern "C" fn map(memory: *mut c_void, base: *mut *mut c_void, length: *mut u64) -> c_int {
    // SAFETY: as above. What is mapped is only read.
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
