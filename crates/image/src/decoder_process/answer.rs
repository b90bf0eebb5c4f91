//! The result of decoding one picture.

/// A decoded picture, over white.
pub(super) struct Pixels {
    pub width: u32,
    pub height: u32,
    /// Red, green and blue of each pixel, row by row.
    pub rgb: Vec<u8>,
}

/// The reason why a picture was not decoded.
pub(super) enum Failure {
    /// The library's message.
    Refused(String),
    /// The name of a library that is not installed.
    Missing(&'static str),
}

impl From<&str> for Failure {
    fn from(message: &str) -> Self {
        Failure::Refused(message.to_owned())
    }
}
