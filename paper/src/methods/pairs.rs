//! Distances of all pairs of a batch, and triplets drawn from it, for rivals without hash centres.

use tch::{Kind, Tensor};

use scihcgrl_model::ModelError;

/// Returns the squared Euclidean distances of relaxed codes `[heads, batch, bits]`: `[heads, batch,
/// batch]`.
///
/// # Errors
/// [`ModelError::Tensor`].
pub fn distances(codes: &Tensor) -> Result<Tensor, ModelError> {
    let square = codes
        .f_square()?
        .f_sum_dim_intlist([2i64].as_slice(), true, Kind::Float)?; // [heads, batch, 1]
    let product = codes.f_bmm(&codes.f_transpose(1, 2)?)?;
    Ok(square
        .f_add(&square.f_transpose(1, 2)?)?
        .f_sub(&product.f_mul_scalar(2.0)?)?
        .f_clamp_min(0.0)?)
}

/// Returns the mean of values over the pairs of a mask, `[batch, batch]`, summed over heads; 0 if
/// the mask has no pair.
///
/// # Errors
/// [`ModelError::Tensor`].
pub fn mean_over(values: &Tensor, mask: &Tensor) -> Result<Tensor, ModelError> {
    let count = mask.f_sum(Kind::Float)?.f_clamp_min(1.0)?;
    Ok(values.f_mul(mask)?.f_sum(Kind::Float)?.f_div(&count)?)
}

/// Returns the hinge max(0, margin + d(a, p) − d(a, n)) of every similar pair (a, p), with one
/// random image n that is dissimilar to a: `[heads, batch, batch]`, and the mask of pairs that
/// count, `[batch, batch]`. An image without dissimilar ones has no triplet.
///
/// # Errors
/// [`ModelError::Tensor`].
pub fn hinges(
    distances: &Tensor,
    similar: &Tensor,
    margin: f64,
) -> Result<(Tensor, Tensor), ModelError> {
    let (heads, batch, _) = distances.size3()?;
    let unlike = similar.f_neg()?.f_add_scalar(1.0)?;
    let has_unlike = unlike
        .f_sum_dim_intlist([1i64].as_slice(), true, Kind::Float)?
        .f_sign()?; // [batch, 1]
    // A row without a dissimilar image draws any image; its triplets are masked.
    let weights = unlike.f_add(&has_unlike.f_neg()?.f_add_scalar(1.0)?)?;
    let drawn = weights.f_multinomial(batch, true)?; // [batch, batch]
    let far = distances.f_gather(
        2,
        &drawn
            .f_unsqueeze(0)?
            .f_expand([heads, batch, batch], false)?,
        false,
    )?;
    let others = Tensor::f_eye(batch, (Kind::Float, similar.device()))?
        .f_neg()?
        .f_add_scalar(1.0)?;
    let mask = similar.f_mul(&others)?.f_mul(&has_unlike)?;
    let hinge = distances
        .f_sub(&far)?
        .f_add_scalar(margin)?
        .f_clamp_min(0.0)?;
    Ok((hinge, mask))
}
