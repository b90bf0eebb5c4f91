//! Decodes HEIC and AVIF with libheif, version 1.0 or later, which turns pictures upright.

use std::{
    ffi::{CStr, c_char, c_int, c_void},
    ptr::{null, null_mut},
    sync::OnceLock,
};

use crate::{
    decoder_process::{
        answer::{Failure, Pixels},
        library,
    },
    types::alpha::Alpha,
};

/// libheif's `heif_error`.
#[repr(C)]
struct Status {
    code: c_int,
    subcode: c_int,
    message: *const c_char,
}

const COLORSPACE_RGB: c_int = 1;
const CHROMA_INTERLEAVED_RGB: c_int = 10;
const CHROMA_INTERLEAVED_RGBA: c_int = 11;
const CHANNEL_INTERLEAVED: c_int = 10;

library::functions!(Heif {
    heif_context_alloc: fn() -> *mut c_void;
    heif_context_free: fn(*mut c_void);
    heif_context_read_from_memory_without_copy: fn(*mut c_void, *const u8, usize, *const c_void) -> Status;
    heif_context_get_primary_image_handle: fn(*mut c_void, *mut *mut c_void) -> Status;
    heif_image_handle_release: fn(*const c_void);
    heif_image_handle_has_alpha_channel: fn(*const c_void) -> c_int;
    heif_image_handle_is_premultiplied_alpha: fn(*const c_void) -> c_int;
    heif_decode_image: fn(*const c_void, *mut *mut c_void, c_int, c_int, *const c_void) -> Status;
    heif_image_release: fn(*const c_void);
    heif_image_get_width: fn(*const c_void, c_int) -> c_int;
    heif_image_get_height: fn(*const c_void, c_int) -> c_int;
    heif_image_get_plane_readonly: fn(*const c_void, c_int, *mut c_int) -> *const u8;
});

pub(super) fn decode(bytes: &[u8]) -> Result<Pixels, Failure> {
    static HEIF: OnceLock<Option<Heif>> = OnceLock::new();
    if HEIF.get().is_none() {
        let library = library::open("libheif.so.1", "libheif")?;
        let _ = HEIF.set(Heif::of(library));
    }
    let heif = HEIF.get().and_then(Option::as_ref);
    let heif = heif.ok_or(Failure::Missing("a newer libheif"))?;
    let (mut handle, mut image) = (null_mut(), null_mut());
    // SAFETY: the calls follow libheif's header: each object is freed once and not used afterwards.
    unsafe {
        let context = (heif.heif_context_alloc)();
        let mut read = || {
            check((heif.heif_context_read_from_memory_without_copy)(
                context,
                bytes.as_ptr(),
                bytes.len(),
                null(),
            ))?;
            check((heif.heif_context_get_primary_image_handle)(
                context,
                &raw mut handle,
            ))?;
            let alpha = (heif.heif_image_handle_has_alpha_channel)(handle) != 0;
            let blend = if (heif.heif_image_handle_is_premultiplied_alpha)(handle) != 0 {
                Alpha::Premultiplied
            } else {
                Alpha::Straight
            };
            let chroma = if alpha {
                CHROMA_INTERLEAVED_RGBA
            } else {
                CHROMA_INTERLEAVED_RGB
            };
            check((heif.heif_decode_image)(
                handle,
                &raw mut image,
                COLORSPACE_RGB,
                chroma,
                null(),
            ))?;
            let mut stride = 0;
            let plane =
                (heif.heif_image_get_plane_readonly)(image, CHANNEL_INTERLEAVED, &raw mut stride);
            let width = (heif.heif_image_get_width)(image, CHANNEL_INTERLEAVED);
            let height = (heif.heif_image_get_height)(image, CHANNEL_INTERLEAVED);
            let (Ok(width), Ok(height), Ok(stride)) = (
                u32::try_from(width),
                u32::try_from(height),
                usize::try_from(stride),
            ) else {
                return Err("libheif returned no picture".into());
            };
            let channels = if alpha { 4 } else { 3 };
            let row = width as usize * channels;
            if plane.is_null() || height == 0 || stride < row {
                return Err("libheif returned no picture".into());
            }
            let rows = std::slice::from_raw_parts(plane, stride * (height as usize - 1) + row);
            let pixels = rows
                .chunks(stride)
                .flat_map(|line| line[..row].chunks_exact(channels));
            let mut rgb = Vec::with_capacity(width as usize * height as usize * 3);
            for pixel in pixels {
                let opacity = if alpha { pixel[3] } else { 255 };
                rgb.extend(
                    pixel[..3]
                        .iter()
                        .map(|&channel| blend.over_white(channel, opacity)),
                );
            }
            Ok(Pixels { width, height, rgb })
        };
        let pixels = read();
        if !image.is_null() {
            (heif.heif_image_release)(image);
        }
        if !handle.is_null() {
            (heif.heif_image_handle_release)(handle);
        }
        (heif.heif_context_free)(context);
        pixels
    }
}

fn check(status: Status) -> Result<(), Failure> {
    if status.code == 0 {
        return Ok(());
    }
    if status.message.is_null() {
        return Err("libheif cannot decode it".into());
    }
    // SAFETY: libheif's messages are static strings.
    let message = unsafe { CStr::from_ptr(status.message) };
    Err(Failure::Refused(message.to_string_lossy().into_owned()))
}
