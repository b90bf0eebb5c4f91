//! Runs a list of convolutions on a CPU with oneDNN's fused operations and weights that are laid
//! out in advance. Calls these operations through TorchScript, because tch does not expose them.

use std::io::{Cursor, Write};

use tch::{CModule, IValue, TchError, Tensor, jit};
use zip::{CompressionMethod, ZipWriter, result::ZipError, write::FileOptions};

use crate::{error::ModelError, network::efficientnet_lite::step::Step};

const CODE: &[u8] = include_bytes!("fused.torchscript");
/// Pickle of an object of class `Fused` without members, and of an empty tuple.
const OBJECT: &[u8] = b"\x80\x02c__torch__\nFused\nq\x00)\x81}b.";
const EMPTY_TUPLE: &[u8] = b"\x80\x02).";

/// The TorchScript module with the packed weights of all steps.
pub struct Fused {
    module: CModule,
    weights: Vec<Tensor>,
    biases: Vec<Tensor>,
    /// Padding, stride, groups and operation after each step, and 1 if its input is kept.
    plan: Vec<i64>,
}

impl Fused {
    /// Packs the weights of steps for inputs of these sides, in pixels.
    ///
    /// # Errors
    /// [`ModelError::Tensor`] if libtorch lacks the operations.
    pub fn new(steps: &[Step], sides: &[i64]) -> Result<Self, ModelError> {
        let archive = archive().map_err(|error| TchError::Kind(error.to_string()))?;
        let module = CModule::load_data(&mut Cursor::new(archive))?;
        let (mut weights, mut plan) = (Vec::new(), Vec::new());
        for (step, &side) in steps.iter().zip(sides) {
            let (_, channels, _, _) = step.weight.size4()?;
            let input = vec![1, channels * step.groups, side, side];
            let packed = module.method_is(
                "pack",
                &[
                    IValue::Tensor(step.weight.shallow_clone()),
                    IValue::Int(step.padding),
                    IValue::Int(step.stride),
                    IValue::Int(step.groups),
                    IValue::IntList(input),
                ],
            )?;
            weights.push(Tensor::try_from(packed)?);
            let after = step.after as i64;
            plan.extend([
                step.padding,
                step.stride,
                step.groups,
                after,
                step.keep.into(),
            ]);
        }
        let biases = steps.iter().map(|step| step.bias.shallow_clone()).collect();
        Ok(Fused {
            module,
            weights,
            biases,
            plan,
        })
    }

    /// Runs all steps.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn forward(&self, images: Tensor) -> Result<Tensor, ModelError> {
        // The setting is per thread. There is nothing to optimise, and the optimiser specialises
        // for shapes, which change with every batch.
        jit::f_set_graph_executor_optimize(false)?;
        let all = |tensors: &[Tensor]| tensors.iter().map(Tensor::shallow_clone).collect();
        let inputs = [
            IValue::Tensor(images),
            IValue::TensorList(all(&self.weights)),
            IValue::TensorList(all(&self.biases)),
            IValue::IntList(self.plan.clone()),
        ];
        Ok(Tensor::try_from(self.module.forward_is(&inputs)?)?)
    }
}

/// Makes the archive that `torch.jit.save` would write.
fn archive() -> Result<Vec<u8>, ZipError> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = FileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in [
        ("fused/data.pkl", OBJECT),
        ("fused/code/__torch__.py", CODE),
        ("fused/constants.pkl", EMPTY_TUPLE),
        ("fused/version", b"3\n"),
    ] {
        archive.start_file(name, stored)?;
        archive.write_all(bytes)?;
    }
    Ok(archive.finish()?.into_inner())
}
