//! VGG-19 up to its feature fc7 of 4096 entries: the paper's 16 convolutions, fc6 and fc7, without
//! the classifier. Tensors have torchvision's names.

use tch::{Kind, Tensor, nn};

use crate::{
    error::ModelError,
    network::backbone::{Backbone, Pass, Shapes, channels_last},
};

/// Output channels of the 3×3 convolutions between poolings.
const STAGES: [&[i64]; 5] = [&[64; 2], &[128; 2], &[256; 4], &[512; 4], &[512; 4]];
/// Side of the input of fc6, for images of any side.
const POOLED_SIDE: i64 = 7;
pub(crate) const FEATURE_SIZE: i64 = 4096;
const DROPOUT: f64 = 0.5;

/// The convolutions and the two fully connected layers.
pub struct Vgg19 {
    stages: Vec<Vec<Layer>>,
    dense: Vec<Layer>,
}

/// A convolution or a fully connected layer.
struct Layer {
    weight: Tensor, // [out, in, 3, 3] or [out, in]
    bias: Tensor,   // [out]
}

impl Layer {
    /// Initialises by He's method, which suits the ReLU that follows.
    fn new(path: &nn::Path, shape: &[i64]) -> Result<Self, ModelError> {
        Ok(Layer {
            weight: path.f_kaiming_normal("weight", shape)?,
            bias: path.f_zeros("bias", &shape[..1])?,
        })
    }

    /// Returns weight and bias in the type of the computation.
    fn cast(&self, kind: Kind) -> Result<(Tensor, Tensor), ModelError> {
        Ok((self.weight.f_to_kind(kind)?, self.bias.f_to_kind(kind)?))
    }
}

/// Returns the network's tensors without building it.
pub(crate) fn shapes() -> Shapes {
    let (convolutions, dense) = layers();
    let layers = convolutions.into_iter().flatten().chain(dense);
    layers
        .flat_map(|(name, shape)| {
            let bias = (format!("{name}.bias"), shape[..1].to_vec());
            [(format!("{name}.weight"), shape), bias]
        })
        .collect()
}

/// Returns the names and weight shapes of the convolutions, stage by stage, and of the fully
/// connected layers.
fn layers() -> (Vec<Shapes>, Shapes) {
    // torchvision's numbers also count ReLUs and poolings.
    let (mut stages, mut number, mut input) = (Vec::new(), 0, 3);
    for outputs in STAGES {
        let mut stage = Vec::new();
        for &output in outputs {
            stage.push((format!("features.{number}"), vec![output, input, 3, 3]));
            (number, input) = (number + 2, output);
        }
        stages.push(stage);
        number += 1;
    }
    let dense = [(0, input * POOLED_SIDE * POOLED_SIDE), (3, FEATURE_SIZE)];
    let dense =
        dense.map(|(number, input)| (format!("classifier.{number}"), vec![FEATURE_SIZE, input]));
    (stages, dense.into())
}

impl Vgg19 {
    /// Builds the network with untrained variables under `path`.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn new(path: &nn::Path) -> Result<Self, ModelError> {
        let (convolutions, dense) = layers();
        let make = |layers: Shapes| {
            let layers = layers.into_iter();
            let layers = layers.map(|(name, shape)| {
                let parts = name.split('.');
                let path = parts.fold(path.clone(), |path, part| path / part);
                Layer::new(&path, &shape)
            });
            layers.collect::<Result<Vec<_>, _>>()
        };
        Ok(Vgg19 {
            stages: convolutions
                .into_iter()
                .map(make)
                .collect::<Result<_, _>>()?,
            dense: make(dense)?,
        })
    }
}

impl Backbone for Vgg19 {
    fn feature_size(&self) -> i64 {
        FEATURE_SIZE
    }

    fn features(&self, images: &Tensor, pass: Pass) -> Result<Tensor, ModelError> {
        let mut x = channels_last(images, pass.kind)?;
        for stage in &self.stages {
            for layer in stage {
                let (weight, bias) = layer.cast(pass.kind)?;
                x = x.f_conv2d(&weight, Some(bias), 1, 1, 1, 1)?.f_relu()?;
            }
            x = x.f_max_pool2d(2, 2, 0, 1, false)?;
        }
        let x = x.f_adaptive_avg_pool2d([POOLED_SIDE, POOLED_SIDE])?; // [batch, 512, 7, 7]
        let mut x = x.f_flatten(1, -1)?; // [batch, 25088]
        for layer in &self.dense {
            let (weight, bias) = layer.cast(pass.kind)?;
            let y = x.f_linear(&weight, Some(bias))?.f_relu()?;
            x = y.f_dropout(DROPOUT, pass.train)?;
        }
        Ok(x.f_to_kind(Kind::Float)?) // [batch, 4096]
    }

    /// Only casts the weights, because there is no batch norm.
    fn fold(&mut self, _side: u32, kind: Kind) -> Result<(), ModelError> {
        for layer in self.stages.iter_mut().flatten().chain(&mut self.dense) {
            let (weight, bias) = layer.cast(kind)?;
            (layer.weight, layer.bias) = (weight.detach(), bias.detach());
        }
        Ok(())
    }
}
