//! What the service and a decoder process write to each other. Numbers are little-endian.
//!
//! A request is a byte for the [`Library`], the bytes of memory that decoding may take (u64), the
//! length of the file (u64), and the file. An answer is a byte for the [`Answer`]; with pixels
//! follow width and height (u32 each) and red, green and blue of each pixel; otherwise the length
//! of a message (u32) and the message.

/// The argument that makes the service's program a decoder process: it must call
/// [`run_decoder`](crate::run_decoder) if this is its only argument.
pub const DECODER_ARGUMENT: &str = "decode-pictures";
/// The most bytes of a message.
pub(crate) const MAX_MESSAGE: u32 = 1024;

/// The library that decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Library {
    Heif = 1,
    Tiff = 2,
    TurboJpeg = 3,
    Jxl = 4,
    WebP = 5,
}

/// The first byte of an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Answer {
    Pixels = 0,
    /// The picture is broken, or the library does not read it. The message says why.
    Refused = 1,
    /// The library is not installed. The message is its name.
    Missing = 2,
}
