//! The messages between the service and a decoder process. Numbers are little-endian.
//!
//! A request is a byte for the [`Library`], the bytes of memory that decoding may take (u64), the
//! length of the file (u64), and the file. An answer begins with a byte for the [`Answer`]. With
//! pixels, the width and height (u32 each) follow, then red, green and blue of each pixel.
//! Otherwise the length of a message (u32) and the message follow.

/// The argument that makes the service's program a decoder process. The program must call
/// [`run_decoder`](crate::run_decoder) if this is its only argument.
pub const DECODER_ARGUMENT: &str = "decode-pictures";
/// Maximum number of bytes of a message.
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
    /// The picture is broken or not supported by the library. The message states the reason.
    Refused = 1,
    /// The library is not installed. The message is its name.
    Missing = 2,
}
