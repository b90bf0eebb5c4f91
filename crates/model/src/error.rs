//! [`ModelError`]: the errors of networks, devices and model files.

use std::path::PathBuf;

use scihcgrl_index::IndexError;

/// An error of a network, a device or a model file.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// libtorch refused an operation.
    #[error("libtorch: {source}")]
    Tensor {
        /// libtorch's message, in one line.
        source: tch::TchError,
    },
    /// A model file could not be read or written.
    #[error("model file {}: {source}", path.display())]
    File {
        /// Path of the model file.
        path: PathBuf,
        /// The error of the file system.
        source: std::io::Error,
    },
    /// A file was read, but it is not a usable model.
    #[error("{} is not a usable model file: {reason}", path.display())]
    Format {
        /// Path of the model file.
        path: PathBuf,
        /// The part that is wrong, in words.
        reason: String,
    },
    /// There are no classes, or more than there are hash centres for.
    #[error("{found} classes; there are hash centres for 1 to {max}")]
    Classes {
        /// The requested number of classes.
        found: usize,
        /// Maximum number of classes.
        max: usize,
    },
    /// An image does not have the size of the model's input.
    #[error("the side of the image is {found} pixels; this model takes {expected}")]
    Side {
        /// The image's side, in pixels.
        found: u32,
        /// The side of the model's input, in pixels.
        expected: u32,
    },
    /// A vector cannot become a sketch.
    #[error(transparent)]
    Sketch {
        /// The index's reason.
        #[from]
        source: IndexError,
    },
    /// A device does not exist on this machine.
    #[error("device '{found}': {reason}")]
    Device {
        /// The requested device.
        found: String,
        /// Why it is unavailable, and which devices can be used.
        reason: String,
    },
}

impl From<tch::TchError> for ModelError {
    /// Keeps only the message, because libtorch appends a stack trace of dozens of lines.
    fn from(source: tch::TchError) -> Self {
        let source = match source {
            tch::TchError::Torch(message) => {
                let words = message.split("Exception raised from").next();
                let words = words.unwrap_or_default().lines().map(str::trim);
                let words: Vec<_> = words.filter(|line| !line.is_empty()).collect();
                tch::TchError::Torch(words.join(" "))
            }
            other => other,
        };
        ModelError::Tensor { source }
    }
}

#[cfg(test)]
mod tests {
    use tch::Tensor;

    use super::*;

    #[test]
    fn a_libtorch_error_becomes_one_line() {
        let error = Tensor::from_slice(&[1.0f32]).f_view([2]).unwrap_err();
        assert!(error.to_string().contains("frame #0"), "{error}");
        let words = ModelError::from(error).to_string();
        assert_eq!(words.lines().count(), 1, "{words}");
        assert!(words.contains("invalid for input of size 1"), "{words}");
    }
}
