//! Tensors in a safetensors file with a text beside them: read by name, written whole or not at all.
//! Knows names, shapes and types; not what the tensors are for.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io::Write,
    path::Path,
};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use tch::{Kind, Tensor};

use super::{CARD, ModelError};

/// Writes tensors, in half precision or float as they are, with a text beside them, whole or not at all.
///
/// # Errors
/// [`ModelError::File`] and [`ModelError::Tensor`].
pub fn write_tensors(
    tensors: &[(&str, Tensor)],
    text: Option<String>,
    path: &Path,
) -> Result<(), ModelError> {
    write(tensors, text.map(|text| (CARD, text)), path)
}

/// Reads what [`write_tensors`] wrote.
///
/// # Errors
/// [`ModelError::File`] and [`ModelError::Format`].
pub fn read_tensors(path: &Path) -> Result<(String, BTreeMap<String, Tensor>), ModelError> {
    let bytes = read(path)?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| bad(path, error))?;
    let texts = header.metadata().as_ref();
    let text = texts.and_then(|texts| texts.get(CARD)).cloned();
    let file = SafeTensors::deserialize(&bytes).map_err(|error| bad(path, error))?;
    let tensors = file.tensors().into_iter().map(|(name, view)| {
        let tensor = tensor(&name, &view, path)?;
        Ok((name, tensor))
    });
    Ok((
        text.unwrap_or_default(),
        tensors.collect::<Result<_, ModelError>>()?,
    ))
}

/// A tensor of a file.
pub(super) fn tensor(name: &str, view: &TensorView, path: &Path) -> Result<Tensor, ModelError> {
    let kind = kind(name, view, path)?;
    Ok(Tensor::f_from_data_size(view.data(), &shape(view), kind)?)
}

fn kind(name: &str, view: &TensorView, path: &Path) -> Result<Kind, ModelError> {
    match view.dtype() {
        Dtype::F16 => Ok(Kind::Half),
        Dtype::BF16 => Ok(Kind::BFloat16),
        Dtype::F32 => Ok(Kind::Float),
        other => Err(bad(path, format!("tensor '{name}' is of type {other:?}"))),
    }
}

fn shape(view: &TensorView) -> Vec<i64> {
    view.shape().iter().map(|&side| side as i64).collect()
}

/// Checks that a file has tensors of these names and shapes, and no others but those that are `ignored`. Reads its header alone.
pub(super) fn compare(
    wanted: &BTreeMap<String, Vec<i64>>,
    ignored: &[&str],
    file: &SafeTensors,
    path: &Path,
) -> Result<(), ModelError> {
    if let Some(extra) = file
        .names()
        .into_iter()
        .find(|name| !wanted.contains_key(*name) && !ignored.contains(&name.as_str()))
    {
        return Err(bad(
            path,
            format!("this architecture has no tensor '{extra}'"),
        ));
    }
    for (name, expected) in wanted {
        let view = file
            .tensor(name)
            .map_err(|_| bad(path, format!("tensor '{name}' is missing")))?;
        let found = shape(&view);
        if found != *expected {
            return Err(bad(
                path,
                format!("tensor '{name}' has shape {found:?} instead of {expected:?}"),
            ));
        }
        kind(name, &view, path)?;
    }
    Ok(())
}

/// Copies every one of some variables, by name, from the file. Each must be there with its shape and all its values finite, and nothing
/// else may be but what is `ignored`.
pub(super) fn fill(
    wanted: BTreeMap<String, Tensor>,
    ignored: &[&str],
    file: &SafeTensors,
    path: &Path,
) -> Result<(), ModelError> {
    let shapes = wanted.iter();
    let shapes = shapes.map(|(name, variable)| (name.clone(), variable.size()));
    compare(&shapes.collect(), ignored, file, path)?;
    for (name, mut variable) in wanted {
        let view = file.tensor(&name).map_err(|error| bad(path, error))?;
        let value = tensor(&name, &view, path)?;
        if !bool::try_from(value.f_isfinite()?.f_all()?)? {
            return Err(bad(
                path,
                format!("tensor '{name}' has a value that is not a finite number"),
            ));
        }
        tch::no_grad(|| variable.f_copy_(&value))?;
    }
    Ok(())
}

/// Writes tensors with an entry of metadata.
pub(super) fn write(
    tensors: &[(&str, Tensor)],
    metadata: Option<(&str, String)>,
    path: &Path,
) -> Result<(), ModelError> {
    let data = tensors
        .iter()
        .map(|(name, tensor)| {
            let (dtype, width) = match tensor.kind() {
                Kind::Half => (Dtype::F16, 2),
                _ => (Dtype::F32, 4),
            };
            let mut bytes = vec![0u8; tensor.numel() * width];
            tensor
                .f_contiguous()?
                .f_copy_data_u8(&mut bytes, tensor.numel())?;
            let shape = tensor
                .size()
                .iter()
                .map(|&side| side as usize)
                .collect::<Vec<_>>();
            Ok((*name, dtype, shape, bytes))
        })
        .collect::<Result<Vec<_>, ModelError>>()?;
    let views = data
        .iter()
        .map(|(name, dtype, shape, bytes)| {
            let view =
                TensorView::new(*dtype, shape.clone(), bytes).map_err(|error| bad(path, error))?;
            Ok((*name, view))
        })
        .collect::<Result<Vec<_>, ModelError>>()?;
    write_views(views, metadata, path)
}

/// Writes the file beside its name first, so that under the name there is never a part of one.
pub(super) fn write_views(
    views: Vec<(&str, TensorView)>,
    metadata: Option<(&str, String)>,
    path: &Path,
) -> Result<(), ModelError> {
    let metadata: Option<HashMap<String, String>> =
        metadata.map(|(name, value)| HashMap::from([(name.to_owned(), value)]));
    let bytes = safetensors::serialize(views, &metadata).map_err(|error| bad(path, error))?;
    let part = path.with_extension("part");
    let written = File::create(&part).and_then(|mut file| {
        file.write_all(&bytes)?;
        file.sync_all()
    });
    written
        .and_then(|()| fs::rename(&part, path))
        .map_err(|source| {
            let _ = fs::remove_file(&part);
            ModelError::File {
                path: path.to_owned(),
                source,
            }
        })
}

/// All of a file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, ModelError> {
    fs::read(path).map_err(|source| ModelError::File {
        path: path.to_owned(),
        source,
    })
}

/// A file that is not what it should be.
pub(super) fn bad(path: &Path, reason: impl ToString) -> ModelError {
    ModelError::Format {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}
