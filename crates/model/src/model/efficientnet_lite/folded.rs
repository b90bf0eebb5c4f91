//! The network for inference at one side: a list of convolutions with their norms folded in, and what comes after each.
//! Knows how they are run fast; nothing of names or training.

use tch::{Device, Kind, Tensor};

use super::fused::Fused;
use crate::model::{ModelError, backbone::channels_last};

/// What comes after a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Nothing.
    Nothing = 0,
    /// ReLU6.
    Clamp = 1,
    /// The kept input is added.
    Add = 2,
}

/// A convolution with bias.
pub struct Step {
    /// `[out, in / groups, kernel, kernel]`.
    pub weight: Tensor,
    /// `[out]`.
    pub bias: Tensor,
    /// At all four ends of the input.
    pub padding: i64,
    /// Zeros added to the input before: left, right, top, bottom.
    pub ends: Option<[i64; 4]>,
    /// In both directions.
    pub stride: i64,
    /// Of channels.
    pub groups: i64,
    /// After it.
    pub then: Then,
    /// Whether its input is kept for a later one to add.
    pub keep: bool,
}

impl Step {
    /// Fits it to inputs of a side and to the type that is computed in, and tells the side of its output. TensorFlow's "same" padding puts an
    /// odd row or column to the end. On a CPU, where that would cost a copy of the input at every pass, a row and column of zeros before the
    /// kernel do the same; cuDNN has no fast depthwise kernels of even sides.
    fn fit(&mut self, side: i64, kind: Kind, device: Device) -> Result<i64, ModelError> {
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
            match before == after {
                true => self.padding = after,
                false => self.ends = Some([before, after, before, after]),
            }
            // As images lie, so that cuDNN need not turn them at every pass.
            self.weight = channels_last(&self.weight, kind)?;
        }
        Ok(output)
    }
}

/// See the module.
pub struct Folded {
    steps: Vec<Step>,
    fused: Option<Fused>,
}

impl Folded {
    /// Of steps whose paddings are still to be found, for images of a side, laid out for a device.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn new(
        mut steps: Vec<Step>,
        side: u32,
        kind: Kind,
        device: Device,
    ) -> Result<Self, ModelError> {
        let mut sides = vec![i64::from(side)];
        for step in &mut steps {
            sides.push(step.fit(sides[sides.len() - 1], kind, device)?);
        }
        // oneDNN does not add images of a single pixel.
        let fuses = device == Device::Cpu && !sides.contains(&1);
        let fused = fuses.then(|| Fused::new(&steps, &sides));
        let fused = fused.transpose().unwrap_or_else(|error| {
            tracing::warn!(%error, "this build of libtorch has no fused convolutions, which makes encoding slower");
            None
        });
        Ok(Folded { steps, fused })
    }

    /// Runs the steps one by one from now on, and tells whether they were fused.
    #[cfg(test)]
    pub fn unfuse(&mut self) -> bool {
        self.fused.take().is_some()
    }

    /// `[batch, 3, side, side]` in the last type and memory format to `[batch, out, …]`.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn forward(&self, images: Tensor) -> Result<Tensor, ModelError> {
        if let Some(fused) = &self.fused {
            return fused.forward(images);
        }
        let mut x = images;
        let mut kept = x.shallow_clone();
        for step in &self.steps {
            if step.keep {
                kept = x.shallow_clone();
            }
            let Step {
                weight,
                bias,
                padding,
                stride,
                groups,
                ..
            } = step;
            if let Some(ends) = step.ends {
                x = x.f_constant_pad_nd(ends)?;
            }
            let mut y = x.f_conv2d(weight, Some(bias), *stride, *padding, 1, *groups)?;
            x = match step.then {
                Then::Nothing => y,
                Then::Clamp => y.f_relu6_()?,
                Then::Add => y.f_add_(&kept)?,
            };
        }
        Ok(x)
    }
}
