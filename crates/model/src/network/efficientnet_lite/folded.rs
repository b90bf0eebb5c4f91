//! The network for inference at one input side: a list of convolutions with their norms folded in.
//! Fused operations run it if libtorch has them.

use tch::{Device, Kind, Tensor};

use crate::{
    error::ModelError,
    network::efficientnet_lite::{
        fused::Fused,
        step::{After, Step},
    },
};

/// All steps of the network.
pub struct Folded {
    steps: Vec<Step>,
    fused: Option<Fused>,
}

impl Folded {
    /// Fits steps to images of a side, a type and a device.
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
        // oneDNN cannot add images of a single pixel.
        let fuses = device == Device::Cpu && !sides.contains(&1);
        let fused = fuses.then(|| Fused::new(&steps, &sides));
        let fused = fused.transpose().unwrap_or_else(|error| {
            tracing::warn!(%error, "this build of libtorch has no fused convolutions; encoding will be slower");
            None
        });
        Ok(Folded { steps, fused })
    }

    /// Turns off fused operations. Returns true if they were on.
    #[cfg(test)]
    pub fn unfuse(&mut self) -> bool {
        self.fused.take().is_some()
    }

    /// Computes `[batch, 3, side, side]`, channels last and in the fitted type, to `[batch, out,
    /// …]`.
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
            x = match step.after {
                After::Nothing => y,
                After::Clamp => y.f_relu6_()?,
                After::Add => y.f_add_(&kept)?,
            };
        }
        Ok(x)
    }
}
