//! A convolution with its batch norm folded in, and the operation after it.

use tch::{Device, Kind, Tensor};

use crate::{error::ModelError, network::backbone::channels_last};

/// The operation after a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// No operation.
    Nothing = 0,
    /// ReLU6.
    Clamp = 1,
    /// Adds the kept input.
    Add = 2,
}

/// A convolution with bias, and the operation after it.
pub struct Step {
    /// `[out, in / groups, kernel, kernel]`.
    pub weight: Tensor,
    /// `[out]`.
    pub bias: Tensor,
    /// Zeros at each of the four ends of the input.
    pub padding: i64,
    /// Zeros added to the input before the convolution: left, right, top, bottom.
    pub ends: Option<[i64; 4]>,
    /// Stride in both directions.
    pub stride: i64,
    /// Number of groups of channels.
    pub groups: i64,
    /// The operation after the convolution.
    pub after: After,
    /// True if the input is kept for a later step to add.
    pub keep: bool,
}

impl Step {
    /// Fits the step to inputs of a side and to the type of the computation. Returns the side of
    /// its output. TensorFlow's "same" padding adds an odd row or column at the end. On a CPU that
    /// would copy the input in every pass, so this adds a row and a column of zeros at the start of
    /// the kernel instead, with the same result. cuDNN has no fast depthwise kernels of even sides.
    pub(crate) fn fit(&mut self, side: i64, kind: Kind, device: Device) -> Result<i64, ModelError> {
        let output = (side + self.stride - 1) / self.stride;
        let (_, _, kernel, _) = self.weight.size4()?;
        let missing = ((output - 1) * self.stride + kernel - side).max(0);
        let (before, after) = (missing / 2, missing - missing / 2);
        self.bias = self.bias.f_to_kind(kind)?;
        if device == Device::Cpu {
            self.padding = after;
            if before < after {
                self.weight = self.weight.f_constant_pad_nd([1, 0, 1, 0])?;
            }
            self.weight = self.weight.f_to_kind(kind)?;
        } else {
            if before == after {
                self.padding = after;
            } else {
                self.ends = Some([before, after, before, after]);
            }
            // The layout of images, so that cuDNN need not transpose it in every pass.
            self.weight = channels_last(&self.weight, kind)?;
        }
        Ok(output)
    }
}
