//! A convolution and the batch norm after it: two layers in training, folded into one for
//! inference.

use tch::{Kind, Tensor, nn};

use crate::{
    error::ModelError,
    network::{
        backbone::{Pass, Shapes},
        efficientnet_lite::step::{After, Step},
    },
};

const EPSILON: f64 = 1e-3;
const MOMENTUM: f64 = 0.1;

/// A convolution with TensorFlow's "same" padding, followed by a batch norm.
pub struct ConvNorm {
    weight: Tensor, // [out, in / groups, kernel, kernel]
    norm: Norm,
    kernel: i64,
    stride: i64,
    groups: i64,
}

struct Norm {
    weight: Tensor, // [out], as the three below
    bias: Tensor,
    mean: Tensor,
    var: Tensor,
}

/// The shape of a convolution.
pub struct Shape {
    /// Side of the kernel, in pixels.
    pub kernel: i64,
    /// Stride in both directions.
    pub stride: i64,
    /// Number of channels.
    pub input: i64,
    /// Number of channels.
    pub output: i64,
    /// Number of groups of channels.
    pub groups: i64,
}

impl Shape {
    /// Returns the tensors of a convolution and its norm of these names, without building them.
    pub fn tensors(&self, conv: &str, norm: &str) -> Shapes {
        let weight = vec![
            self.output,
            self.input / self.groups,
            self.kernel,
            self.kernel,
        ];
        let norms = ["weight", "bias", "running_mean", "running_var"];
        let norms = norms.map(|name| (format!("{norm}.{name}"), vec![self.output]));
        let mut tensors = Shapes::from(norms);
        tensors.push((format!("{conv}.weight"), weight));
        tensors
    }
}

impl ConvNorm {
    /// Builds the layers with untrained variables under `path`.
    pub fn new(path: &nn::Path, conv: &str, norm: &str, shape: Shape) -> Result<Self, ModelError> {
        let Shape {
            kernel,
            stride,
            input,
            output,
            groups,
        } = shape;
        let weight =
            (path / conv).f_kaiming_normal("weight", &[output, input / groups, kernel, kernel])?;
        let norm = path / norm;
        let norm = Norm {
            weight: norm.f_ones("weight", &[output])?,
            bias: norm.f_zeros("bias", &[output])?,
            mean: norm.f_zeros_no_train("running_mean", &[output])?,
            var: norm.f_ones_no_train("running_var", &[output])?,
        };
        Ok(ConvNorm {
            weight,
            norm,
            kernel,
            stride,
            groups,
        })
    }

    /// Computes `[batch, in, side, side]` to `[batch, out, ⌈side / stride⌉, ⌈side / stride⌉]`.
    pub fn forward(&self, x: &Tensor, pass: Pass) -> Result<Tensor, ModelError> {
        let kind = self.kind(pass);
        let (x, padding) = self.pad(&x.f_to_kind(kind)?)?;
        let weight = self.weight.f_to_kind(kind)?;
        let none: Option<Tensor> = None;
        let y = x.f_conv2d(&weight, none, self.stride, padding, 1, self.groups)?;
        let Norm {
            weight,
            bias,
            mean,
            var,
        } = &self.norm;
        Ok(y.f_to_kind(pass.kind)?.f_batch_norm(
            Some(weight),
            Some(bias),
            Some(mean),
            Some(var),
            pass.train,
            MOMENTUM,
            EPSILON,
            true,
        )?)
    }

    /// Returns the type to compute in. On a CPU, oneDNN has no fast path for the bfloat16 gradients
    /// of strided kernels and of 5×5 depthwise kernels. They take 3 to 200 times as long as in
    /// float, and most of the time of a training step.
    fn kind(&self, pass: Pass) -> Kind {
        let slow = self.groups > 1 && (self.kernel == 5 || self.stride == 2);
        if pass.train && slow && self.weight.device() == tch::Device::Cpu {
            Kind::Float
        } else {
            pass.kind
        }
    }

    /// Pads as TensorFlow's "same": the output side is ⌈side / stride⌉, and an odd row or column of
    /// zeros goes to the end. Returns the remaining padding, equal at both ends, which the
    /// convolution adds at no cost.
    fn pad(&self, x: &Tensor) -> Result<(Tensor, [i64; 2]), ModelError> {
        let (_, _, height, width) = x.size4()?;
        let missing = |side: i64| {
            ((side + self.stride - 1) / self.stride - 1) * self.stride + self.kernel - side
        };
        let (h, w) = (missing(height).max(0), missing(width).max(0));
        if h % 2 == 0 && w % 2 == 0 {
            return Ok((x.shallow_clone(), [h / 2, w / 2]));
        }
        let ends = [w / 2, w - w / 2, h / 2, h - h / 2];
        Ok((x.f_constant_pad_nd(ends)?, [0, 0]))
    }

    /// Returns the convolution with its norm folded in.
    pub fn folded(&self, after: After, keep: bool) -> Result<Step, ModelError> {
        let Norm {
            weight,
            bias,
            mean,
            var,
        } = &self.norm;
        let scale = weight.f_div(&var.f_add_scalar(EPSILON)?.f_sqrt()?)?;
        let weight = self.weight.f_mul(&scale.f_view([-1, 1, 1, 1])?)?;
        let bias = bias.f_sub(&mean.f_mul(&scale)?)?;
        Ok(Step {
            weight: weight.detach(),
            bias: bias.detach(),
            padding: 0,
            ends: None,
            stride: self.stride,
            groups: self.groups,
            after,
            keep,
        })
    }
}
