//! Turns images into hash codes and sketches with a trained model, in batches.

use std::path::Path;

use scihcgrl_image::Pixels;
use scihcgrl_index::{
    Sketch,
    code::{HashCode, Length},
};
use tch::{Device, Kind, Tensor};

use crate::{
    card::Card,
    checkpoint,
    device::{device, kind},
    error::ModelError,
    network::{Network, backbone::Pass},
    options::Compute,
};

/// The codes and the sketch of one image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// One code per length of the model, ascending.
    pub codes: Vec<HashCode>,
    /// The vector that search orders images by. `None` if the model makes no sketches.
    pub sketch: Option<Sketch>,
}

/// A trained model, loaded on a device.
pub struct Hasher {
    network: Network,
    card: Card,
    id: String,
    kind: Kind,
    /// True if batches are padded with black images; see [`padded_size`](Self::padded_size).
    pads_batches: bool,
}

impl Hasher {
    /// Loads a checkpoint onto a device. The model computes in `kind`.
    ///
    /// # Errors
    /// [`ModelError::File`], [`ModelError::Format`] and [`ModelError::Tensor`].
    pub fn load(path: &Path, device: Device, kind: Kind) -> Result<Self, ModelError> {
        let (mut network, card, id) = checkpoint::load(path, device)?;
        network.fold(card.input_size, kind)?;
        Ok(Hasher {
            network,
            card,
            id,
            kind,
            pads_batches: device.is_cuda(),
        })
    }

    /// Loads a checkpoint with the device, number type and libtorch threads of these options.
    ///
    /// # Errors
    /// As [`load`](Self::load), and [`ModelError::Device`].
    pub fn load_with(path: &Path, compute: &Compute) -> Result<Self, ModelError> {
        let device = device(&compute.device)?;
        // One thread is enough next to a GPU: the CPU only fills its batches.
        let threads = compute.threads.or(device.is_cuda().then_some(1));
        if let Some(threads) = threads {
            tch::set_num_threads(threads.clamp(1, 1024) as i32);
        }
        Hasher::load(path, device, kind(compute.precision, device))
    }

    /// Returns the model's card.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// Returns the model's id: the first 12 hexadecimal digits of its file's SHA-256.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the size to which a batch of `images` is padded: the next power of two on a GPU,
    /// `images` itself on a CPU. On a GPU, the first pass of each batch size takes seconds, so
    /// there must be few sizes.
    fn padded_size(&self, images: usize) -> usize {
        if self.pads_batches {
            images.next_power_of_two()
        } else {
            images
        }
    }

    /// Runs one pass of every batch size up to `max_batch`, because the first pass of each size is
    /// the slowest. On a CPU, one pass is enough.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn warm_up(&self, max_batch: usize) -> Result<(), ModelError> {
        let size = self.card.input_size;
        let black = Pixels {
            size,
            rgb: vec![0; (size * size * 3) as usize],
        };
        let mut images = 1;
        loop {
            self.encode(&vec![&black; images])?;
            if images >= max_batch || !self.pads_batches {
                return Ok(());
            }
            images *= 2;
        }
    }

    /// Returns the codes and the sketch of each image of a batch.
    ///
    /// # Errors
    /// [`ModelError::Side`] and [`ModelError::Tensor`].
    pub fn encode(&self, batch: &[&Pixels]) -> Result<Vec<Output>, ModelError> {
        let images = self.upload(batch)?;
        let features = self.features(&images)?;
        self.outputs(&images, &features, batch.len())
    }

    /// Returns the codes and sketches of the first `count` images of an [uploaded](Self::upload)
    /// batch, given its [`features`](Self::features).
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn outputs(
        &self,
        images: &Tensor,
        features: &Tensor,
        count: usize,
    ) -> Result<Vec<Output>, ModelError> {
        let codes = codes(&self.card.lengths, &self.logits(features)?)?;
        let sketches = match &self.network.sketcher {
            Some(sketcher) => {
                tch::no_grad(|| sketcher.sketches(features, &sketcher.tones(images)?))?
            }
            None => Vec::new(),
        };
        let sketches = sketches
            .into_iter()
            .map(Some)
            .chain(std::iter::repeat(None));
        let outputs = codes.into_iter().zip(sketches).take(count);
        Ok(outputs
            .map(|(codes, sketch)| Output { codes, sketch })
            .collect())
    }

    /// Uploads a batch to the device, as the first stage of [`encode`](Self::encode): `[batch, 3,
    /// side, side]` in 0…255, `Uint8`. On a GPU, pads it with black images to a power of two.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn upload(&self, batch: &[&Pixels]) -> Result<Tensor, ModelError> {
        let side = self.card.input_size;
        let (images, bytes) = (self.padded_size(batch.len()), (side * side * 3) as usize);
        let mut rgb = Vec::with_capacity(images * bytes);
        for pixels in batch {
            if pixels.size != side {
                return Err(ModelError::Side {
                    found: pixels.size,
                    expected: side,
                });
            }
            rgb.extend_from_slice(&pixels.rgb);
        }
        rgb.resize(images * bytes, 0);
        self.network.upload(&rgb, side)
    }

    /// Computes the features of an [uploaded](Self::upload) batch, as the second stage: `[batch,
    /// feature]`.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn features(&self, images: &Tensor) -> Result<Tensor, ModelError> {
        let pass = Pass {
            train: false,
            kind: self.kind,
        };
        tch::no_grad(|| self.network.features(images, pass))
    }

    /// Computes the logits of features, as the third stage: `[heads, batch, bits]`. [`codes`] is
    /// the last stage.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn logits(&self, features: &Tensor) -> Result<Tensor, ModelError> {
        tch::no_grad(|| self.network.policy.logits(features))
    }
}

/// Returns one code per length for each image, from logits `[heads, batch, bits]` with one head per
/// length.
///
/// # Errors
/// [`ModelError::Tensor`].
pub fn codes(lengths: &[Length], logits: &Tensor) -> Result<Vec<Vec<HashCode>>, ModelError> {
    let logits = logits
        .f_permute([1, 0, 2])?
        .f_to_device(Device::Cpu)?
        .f_contiguous()?; // [batch, heads, bits]
    let (images, heads, bits) = logits.size3()?;
    let mut values = vec![0f32; (images * heads * bits) as usize];
    let count = values.len();
    logits.f_copy_data(&mut values, count)?;
    // tanh keeps the sign, so z ≥ 0 is a ≥ 0 (Eq 9).
    let per_image = values.chunks((heads * bits) as usize);
    Ok(per_image
        .map(|heads| {
            let rows = lengths.iter().zip(heads.chunks(bits as usize));
            rows.map(|(&length, row)| HashCode::from_actions(length, row))
                .collect()
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_a_batch_changes_no_code() {
        let model = Path::new("../../models/photos.safetensors");
        let mut hasher = Hasher::load(model, Device::Cpu, Kind::Float).unwrap();
        let size = hasher.card.input_size;
        let images: Vec<Pixels> = (1..6)
            .map(|number| Pixels {
                size,
                rgb: (0..size * size * 3).map(|at| (at * number) as u8).collect(),
            })
            .collect();
        let images: Vec<&Pixels> = images.iter().collect();
        let codes = hasher.encode(&images).unwrap();
        hasher.pads_batches = true;
        assert_eq!(hasher.upload(&images).unwrap().size()[0], 8);
        assert_eq!(hasher.encode(&images).unwrap(), codes);
        assert_eq!(hasher.upload(&images[..4]).unwrap().size()[0], 4);
        hasher.warm_up(3).unwrap();
    }
}
