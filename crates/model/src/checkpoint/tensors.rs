//! Safetensors files with one text in the metadata. Reads tensors by name, and writes a file
//! completely or not at all.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use scihcgrl_index::files;
use tch::{Kind, Tensor};

use crate::error::ModelError;

/// Writes tensors with a text in the metadata. Keeps each tensor's type, half precision or float.
/// The file appears only when it is complete.
///
/// # Errors
/// [`ModelError::File`] and [`ModelError::Tensor`].
pub fn write_tensors(
    tensors: &[(&str, Tensor)],
    text: Option<String>,
    path: &Path,
) -> Result<(), ModelError> {
    write(tensors, text.map(|text| (CARD_ENTRY, text)), path)
}

/// Reads the text and the tensors that [`write_tensors`] wrote.
///
/// # Errors
/// [`ModelError::File`] and [`ModelError::Format`].
pub fn read_tensors(path: &Path) -> Result<(String, BTreeMap<String, Tensor>), ModelError> {
    let bytes = read(path)?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| invalid(path, error))?;
    let texts = header.metadata().as_ref();
    let text = texts.and_then(|texts| texts.get(CARD_ENTRY)).cloned();
    let file = SafeTensors::deserialize(&bytes).map_err(|error| invalid(path, error))?;
    let tensors = file.tensors().into_iter().map(|(name, view)| {
        let tensor = tensor(&name, &view, path)?;
        Ok((name, tensor))
    });
    Ok((
        text.unwrap_or_default(),
        tensors.collect::<Result<_, ModelError>>()?,
    ))
}

/// Reads one tensor of a file.
pub(crate) fn tensor(name: &str, view: &TensorView, path: &Path) -> Result<Tensor, ModelError> {
    let kind = kind(name, view, path)?;
    Ok(Tensor::f_from_data_size(view.data(), &shape(view), kind)?)
}

fn kind(name: &str, view: &TensorView, path: &Path) -> Result<Kind, ModelError> {
    match view.dtype() {
        Dtype::F16 => Ok(Kind::Half),
        Dtype::BF16 => Ok(Kind::BFloat16),
        Dtype::F32 => Ok(Kind::Float),
        other => Err(invalid(
            path,
            format!("tensor '{name}' is of type {other:?}"),
        )),
    }
}

fn shape(view: &TensorView) -> Vec<i64> {
    view.shape().iter().map(|&side| side as i64).collect()
}

/// Checks that a file has tensors of these names and shapes, and no others except the `ignored`
/// ones. Reads only the header.
pub(crate) fn check_shapes(
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
        return Err(invalid(
            path,
            format!("this architecture has no tensor '{extra}'"),
        ));
    }
    for (name, expected) in wanted {
        let view = file
            .tensor(name)
            .map_err(|_| invalid(path, format!("tensor '{name}' is missing")))?;
        let found = shape(&view);
        if found != *expected {
            return Err(invalid(
                path,
                format!("tensor '{name}' has shape {found:?} instead of {expected:?}"),
            ));
        }
        kind(name, &view, path)?;
    }
    Ok(())
}

/// Copies the values of variables, by name, from a file. The file must have each variable with its
/// shape and finite values. It may have no other tensors except the `ignored` ones.
pub(crate) fn fill(
    wanted: BTreeMap<String, Tensor>,
    ignored: &[&str],
    file: &SafeTensors,
    path: &Path,
) -> Result<(), ModelError> {
    let shapes = wanted.iter();
    let shapes = shapes.map(|(name, variable)| (name.clone(), variable.size()));
    check_shapes(&shapes.collect(), ignored, file, path)?;
    for (name, mut variable) in wanted {
        let view = file.tensor(&name).map_err(|error| invalid(path, error))?;
        let value = tensor(&name, &view, path)?;
        if !bool::try_from(value.f_isfinite()?.f_all()?)? {
            return Err(invalid(
                path,
                format!("tensor '{name}' has a value that is not a finite number"),
            ));
        }
        tch::no_grad(|| variable.f_copy_(&value))?;
    }
    Ok(())
}

/// Writes tensors with one entry of metadata.
pub(crate) fn write(
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
            let view = TensorView::new(*dtype, shape.clone(), bytes)
                .map_err(|error| invalid(path, error))?;
            Ok((*name, view))
        })
        .collect::<Result<Vec<_>, ModelError>>()?;
    write_views(views, metadata, path)
}

/// Replaces the file as a whole.
pub(crate) fn write_views(
    views: Vec<(&str, TensorView)>,
    metadata: Option<(&str, String)>,
    path: &Path,
) -> Result<(), ModelError> {
    let metadata: Option<HashMap<String, String>> =
        metadata.map(|(name, value)| HashMap::from([(name.to_owned(), value)]));
    let bytes = safetensors::serialize(views, &metadata).map_err(|error| invalid(path, error))?;
    files::replace(path, &bytes).map_err(|source| ModelError::File {
        path: path.to_owned(),
        source,
    })
}

/// Reads a whole file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, ModelError> {
    fs::read(path).map_err(|source| ModelError::File {
        path: path.to_owned(),
        source,
    })
}

/// Makes the error for a damaged or unsuitable file.
pub(crate) fn invalid(path: &Path, reason: impl ToString) -> ModelError {
    ModelError::Format {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

/// The metadata entry that holds the card, or another text.
pub(crate) const CARD_ENTRY: &str = "scihcgrl";
