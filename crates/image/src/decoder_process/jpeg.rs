//! Decodes arithmetic-coded JPEG with libjpeg-turbo, through its TurboJPEG interface of version 1.4
//! or later.

use std::{
    ffi::{CStr, c_char, c_int, c_ulong, c_void},
    sync::OnceLock,
};

use crate::decoder_process::{
    answer::{Failure, Pixels},
    library,
};

const TJPF_RGB: c_int = 0;
const TJPF_CMYK: c_int = 11;
/// The first of the colour spaces CMYK and YCCK.
const TJCS_CMYK: c_int = 3;

library::functions!(Turbo {
    tjInitDecompress: fn() -> *mut c_void;
    tjDestroy: fn(*mut c_void) -> c_int;
    tjDecompressHeader3: fn(*mut c_void, *const u8, c_ulong, *mut c_int, *mut c_int, *mut c_int, *mut c_int) -> c_int;
    tjDecompress2: fn(*mut c_void, *const u8, c_ulong, *mut u8, c_int, c_int, c_int, c_int, c_int) -> c_int;
    tjGetErrorStr: fn() -> *const c_char;
});

pub(super) fn decode(bytes: &[u8]) -> Result<Pixels, Failure> {
    static TURBO: OnceLock<Option<Turbo>> = OnceLock::new();
    if TURBO.get().is_none() {
        let library = library::open("libturbojpeg.so.0", "libturbojpeg")?;
        let _ = TURBO.set(Turbo::of(library));
    }
    let turbo = TURBO.get().and_then(Option::as_ref);
    let turbo = turbo.ok_or(Failure::Missing("a newer libturbojpeg"))?;
    let length = bytes.len() as c_ulong;
    let (mut width, mut height, mut sampling, mut colours) = (0, 0, 0, 0);
    // SAFETY: the calls follow the library's header; the buffer has room for the size that
    // `tjDecompressHeader3` returned.
    unsafe {
        let handle = (turbo.tjInitDecompress)();
        if handle.is_null() {
            return Err("libturbojpeg cannot start".into());
        }
        let refused = || {
            let message = CStr::from_ptr((turbo.tjGetErrorStr)());
            Failure::Refused(message.to_string_lossy().into_owned())
        };
        let mut read = || {
            if (turbo.tjDecompressHeader3)(
                handle,
                bytes.as_ptr(),
                length,
                &raw mut width,
                &raw mut height,
                &raw mut sampling,
                &raw mut colours,
            ) != 0
            {
                return Err(refused());
            }
            let (Ok(wide), Ok(high)) = (u32::try_from(width), u32::try_from(height)) else {
                return Err("it has no pixels".into());
            };
            let (format, channels) = if colours >= TJCS_CMYK {
                (TJPF_CMYK, 4)
            } else {
                (TJPF_RGB, 3)
            };
            let mut pixels = vec![0; wide as usize * high as usize * channels];
            if (turbo.tjDecompress2)(
                handle,
                bytes.as_ptr(),
                length,
                pixels.as_mut_ptr(),
                width,
                0,
                height,
                format,
                0,
            ) != 0
            {
                return Err(refused());
            }
            if channels == 4 {
                // Adobe stores inks inverted.
                pixels = pixels
                    .chunks_exact(4)
                    .flat_map(|ink| [ink[0], ink[1], ink[2]].map(|one| product(one, ink[3])))
                    .collect();
            }
            Ok(Pixels {
                width: wide,
                height: high,
                rgb: pixels,
            })
        };
        let pixels = read();
        (turbo.tjDestroy)(handle);
        pixels
    }
}

/// Multiplies fractions of 255.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the product of two bytes, divided by 255, is at most 255"
)]
fn product(one: u8, other: u8) -> u8 {
    (u32::from(one) * u32::from(other) / 255) as u8
}
