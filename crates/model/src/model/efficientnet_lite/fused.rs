//! A list of convolutions run by oneDNN with all that belongs to each in one operation, on weights laid out beforehand, on a CPU.
//! libtorch has these operations and tch does not call them, so TorchScript does; knows nothing of what the list is.

use std::io::{Cursor, Write};

use tch::{CModule, IValue, TchError, Tensor, jit};
use zip::{CompressionMethod, ZipWriter, result::ZipError, write::FileOptions};

use super::folded::Step;
use crate::model::ModelError;

const CODE: &[u8] = include_bytes!("fused.torchscript");
/// Pickle of an object of that class without members, and of an empty tuple.
const OBJECT: &[u8] = b"\x80\x02c__torch__\nFused\nq\x00)\x81}b.";
const NOTHING: &[u8] = b"\x80\x02).";

/// See the module.
pub struct Fused {
    module: CModule,
    weights: Vec<Tensor>,
    biases: Vec<Tensor>,
    /// Padding, stride, groups, what comes after it, and whether its input is kept, of each step.
    plan: Vec<i64>,
}

impl Fused {
    /// Of steps and the sides of their inputs, pixels.
    ///
    /// # Errors
    /// [`ModelError::Tensor`] where libtorch lacks the operations.
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
            let then = step.then as i64;
            plan.extend([
                step.padding,
                step.stride,
                step.groups,
                then,
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
        // Of this thread. Nothing is left to optimise, and optimising goes by the shapes it has seen, which change with every batch.
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

/// The code as libtorch loads it: what `torch.jit.save` would write.
fn archive() -> Result<Vec<u8>, ZipError> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = FileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in [
        ("fused/data.pkl", OBJECT),
        ("fused/code/__torch__.py", CODE),
        ("fused/constants.pkl", NOTHING),
        ("fused/version", b"3\n"),
    ] {
        archive.start_file(name, stored)?;
        archive.write_all(bytes)?;
    }
    Ok(archive.finish()?.into_inner())
}
