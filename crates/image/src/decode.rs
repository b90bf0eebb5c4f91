//! A picture's bytes to its pixels as they are meant to be seen: upright, over white, 8 bits a channel.
//! Chooses the decoder; knows no sizes of models.

use std::{
    cell::Cell,
    io::Cursor,
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
};

use ::image::{
    DynamicImage, ImageDecoder, ImageError as Source, ImageFormat, ImageReader, Limits, RgbImage,
    metadata::Orientation,
};

use crate::{
    ImageError, MAX_BYTES,
    header::Header,
    jpeg,
    kind::Kind,
    png,
    process::{self, Library},
    tiff, webp,
};

/// What a channel of alpha means for the colours beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alpha {
    /// Colours are as they would be without.
    Straight,
    /// Colours are multiplied by it already.
    Multiplied,
}

thread_local! {
    /// Whether the thread is in a decoder.
    static DECODING: Cell<bool> = const { Cell::new(false) };
}

/// Replaces the panic hook by one that ignores panics of decoders, which become [`ImageError::Malformed`], and passes on all others. Call it
/// once in a process.
pub fn keep_panics() {
    let before = take_hook();
    set_hook(Box::new(move |panic| {
        if !DECODING.get() {
            before(panic);
        }
    }));
}

/// Decodes a picture.
pub(crate) fn guarded(bytes: &[u8], kind: Kind) -> Result<RgbImage, ImageError> {
    answered(kind, || read(bytes, kind))
}

/// A bug in a decoder costs the request that met it, not the thread.
fn answered<T>(kind: Kind, work: impl FnOnce() -> Result<T, ImageError>) -> Result<T, ImageError> {
    let before = DECODING.replace(true);
    let answer = catch_unwind(AssertUnwindSafe(work));
    DECODING.set(before);
    answer.unwrap_or_else(|_| Err(kind.malformed("the decoder panicked")))
}

fn read(bytes: &[u8], kind: Kind) -> Result<RgbImage, ImageError> {
    let header = Header::read(bytes, kind)?;
    let mut alpha = Alpha::Straight;
    let (mut picture, orientation) = match kind {
        Kind::Jpeg => jpeg::decode(bytes, header)?,
        Kind::Png => png::decode(bytes)?,
        Kind::WebP => webp::decode(bytes, header)?,
        Kind::Gif => through_image(bytes, kind, ImageFormat::Gif, header)?,
        Kind::Bmp => through_image(bytes, kind, ImageFormat::Bmp, header)?,
        Kind::Tiff => {
            let (picture, orientation, meant) = tiff::decode(bytes, header)?;
            alpha = meant;
            (picture, orientation)
        }
        Kind::Heic | Kind::Avif | Kind::Jxl => {
            let (library, name) = match kind {
                Kind::Heic => (Library::Heif, "a HEIC picture"),
                Kind::Avif => (Library::Heif, "an AVIF picture"),
                _ => (Library::Jxl, "a JPEG XL picture"),
            };
            let picture = process::decode(library, bytes, kind, name.to_owned(), header)?;
            (picture.into(), Orientation::NoTransforms)
        }
    };
    // Programs that know no alpha leave it 0 in a BMP's fourth byte.
    if let (Kind::Bmp, DynamicImage::ImageRgba8(pixels)) = (kind, &mut picture)
        && pixels.pixels().all(|pixel| pixel.0[3] == 0)
    {
        pixels.pixels_mut().for_each(|pixel| pixel.0[3] = 255);
    }
    let mut picture = DynamicImage::ImageRgb8(over_white(picture, alpha));
    picture.apply_orientation(orientation);
    Ok(picture.into_rgb8())
}

/// Decodes by the image crate, which must find the size that the headers said.
pub(crate) fn through_image(
    bytes: &[u8],
    kind: Kind,
    format: ImageFormat,
    header: Header,
) -> Result<(DynamicImage, Orientation), ImageError> {
    let too_large = || ImageError::TooLarge {
        width: header.width,
        height: header.height,
        megabytes: header.peak.div_ceil(1_000_000),
    };
    let wrong = |error| match error {
        Source::Limits(_) => too_large(),
        other => kind.malformed(other),
    };
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_BYTES);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(wrong)?;
    if decoder.dimensions() != (header.width, header.height) {
        return Err(kind.malformed("its headers tell different sizes"));
    }
    // A broken EXIF block says nothing about the picture beside it.
    let orientation = match kind {
        Kind::WebP => webp::orientation(&mut decoder),
        _ => decoder.orientation().unwrap_or(Orientation::NoTransforms),
    };
    let picture = DynamicImage::from_decoder(decoder).map_err(wrong)?;
    Ok((picture, orientation))
}

/// A picture as it looks on white.
pub(crate) fn over_white(picture: DynamicImage, alpha: Alpha) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.into_rgb8();
    }
    let picture = picture.into_rgba8();
    RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        let [red, green, blue, opacity] = picture.get_pixel(x, y).0.map(u32::from);
        ::image::Rgb([red, green, blue].map(|channel| match alpha {
            Alpha::Straight => ((channel * opacity + 255 * (255 - opacity) + 127) / 255) as u8,
            Alpha::Multiplied => (channel + 255 - opacity).min(255) as u8,
        }))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // allow-unwrap: a test stops where it fails

    use std::{
        panic::set_hook,
        sync::atomic::{AtomicU32, Ordering::Relaxed},
        thread,
    };

    use super::{answered, keep_panics};
    use crate::{ImageError, kind::Kind};

    #[test]
    fn a_panic_of_a_decoder_is_an_answer_and_no_other_is() {
        static TOLD: AtomicU32 = AtomicU32::new(0);
        set_hook(Box::new(|_| {
            TOLD.fetch_add(1, Relaxed);
        }));
        keep_panics();
        let answer = answered(Kind::Tiff, || -> Result<(), ImageError> {
            panic!("a plane too many")
        });
        assert!(
            answer
                .unwrap_err()
                .to_string()
                .contains("the decoder panicked")
        );
        assert_eq!(TOLD.load(Relaxed), 0);
        assert!(thread::spawn(|| panic!("elsewhere")).join().is_err());
        assert_eq!(TOLD.load(Relaxed), 1);
    }
}
