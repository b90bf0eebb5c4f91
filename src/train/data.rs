//! A folder of class folders as one tensor of small pictures with labels, and batches drawn from it, augmented.
//! Knows files and pixels; neither networks nor rewards.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor};

use super::TrainError;
use crate::{image, model::ModelError};

/// Labelled pictures, all of one square size no larger than a model's input.
pub struct Pictures {
    /// Class names, sorted: a class is its index.
    pub classes: Vec<String>,
    /// `[images, 3, side, side]` in 0…255, `Uint8`.
    pub images: Tensor,
    /// The class of each image.
    pub labels: Vec<usize>,
    /// Files that could not be read as images, with why; they are left out.
    pub skipped: Vec<(PathBuf, String)>,
}

/// Reads a folder of class folders, at most `per_class` files of each (seeded), on all cores. Pictures are kept at `side`
/// pixels, or at the longest side among them where all are smaller.
///
/// # Errors
/// [`TrainError::Folder`] where it cannot be listed, has fewer than two classes, or a class has no readable image.
pub fn read(
    folder: &Path,
    side: u32,
    per_class: Option<usize>,
    seed: u64,
) -> Result<Pictures, TrainError> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let wrong = |reason: String| TrainError::Folder {
        path: folder.to_owned(),
        reason,
    };
    let list = |path: &Path| -> Result<Vec<PathBuf>, TrainError> {
        let entries =
            fs::read_dir(path).map_err(|error| wrong(format!("{}: {error}", path.display())))?;
        let mut paths: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        paths.sort();
        Ok(paths)
    };
    let (mut classes, mut files) = (Vec::new(), Vec::new());
    for class in list(folder)?.into_iter().filter(|path| path.is_dir()) {
        let mut paths = list(&class)?;
        paths.retain(|path| path.is_file());
        if let Some(most) = per_class {
            paths.shuffle(&mut rng);
            paths.truncate(most);
            paths.sort();
        }
        let name = class
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        files.extend(paths.into_iter().map(|path| (path, classes.len())));
        classes.push(name);
    }
    if classes.len() < 2 {
        return Err(wrong(format!(
            "{} class folders; at least two are needed",
            classes.len()
        )));
    }
    let decoded = decode_all(&files);
    let longest = decoded
        .iter()
        .flatten()
        .map(|picture| picture.width().max(picture.height()))
        .max();
    let side = side.min(longest.unwrap_or(side));
    let (mut bytes, mut labels, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
    for ((path, label), picture) in files.into_iter().zip(decoded) {
        match picture.and_then(|picture| image::resize(&picture, side)) {
            Ok(pixels) => {
                bytes.extend_from_slice(&pixels.rgb);
                labels.push(label);
            }
            Err(error) => skipped.push((path, error.to_string())),
        }
    }
    if let Some(empty) = (0..classes.len()).find(|class| !labels.contains(class)) {
        return Err(wrong(format!(
            "class '{}' has no readable image",
            classes[empty]
        )));
    }
    let shape = [labels.len() as i64, i64::from(side), i64::from(side), 3];
    let images = Tensor::f_from_data_size(&bytes, &shape, Kind::Uint8).map_err(ModelError::from)?;
    let images = images.f_permute([0, 3, 1, 2]).map_err(ModelError::from)?;
    let images = images.f_contiguous().map_err(ModelError::from)?;
    Ok(Pictures {
        classes,
        images,
        labels,
        skipped,
    })
}

fn decode_all(files: &[(PathBuf, usize)]) -> Vec<Result<::image::RgbImage, image::ImageError>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let mut decoded: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores)
            .map(|_| {
                scope.spawn(|| {
                    let mut mine = Vec::new();
                    loop {
                        let i = next.fetch_add(1, Ordering::Relaxed);
                        let Some((path, _)) = files.get(i) else { break };
                        let bytes = fs::read(path).unwrap_or_default();
                        mine.push((i, image::decode_rgb(&bytes)));
                    }
                    mine
                })
            })
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_default())
            .collect()
    });
    decoded.sort_by_key(|(i, _)| *i);
    decoded.into_iter().map(|(_, picture)| picture).collect()
}

impl Pictures {
    /// Splits image numbers into training and validation, `fraction` of each class (seeded) to the second.
    pub fn split(&self, fraction: f64, seed: u64) -> (Vec<i64>, Vec<i64>) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (mut train, mut validation) = (Vec::new(), Vec::new());
        for class in 0..self.classes.len() {
            let mut members: Vec<i64> = (0..self.labels.len())
                .filter(|&i| self.labels[i] == class)
                .map(|i| i as i64)
                .collect();
            members.shuffle(&mut rng);
            let kept = ((members.len() as f64 * fraction).round() as usize).min(members.len() - 1);
            validation.extend(members.drain(..kept));
            train.extend(members);
        }
        (train, validation)
    }

    /// The pictures of some numbers at a model's input size: `[batch, 3, side, side]`, 0…255, `Float`, on `device`.
    ///
    /// With `augment`, each is flipped, turned up to 10°, scaled by 0.8–1.15 and moved up to an eighth of its side at random, and its
    /// brightness and contrast vary by a fifth; edges are mirrored. One bilinear sampling does all of the geometry and the
    /// resizing, so that a picture is interpolated once.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn batch(
        &self,
        numbers: &[i64],
        side: u32,
        augment: bool,
        device: Device,
    ) -> Result<Tensor, ModelError> {
        let batch = numbers.len() as i64;
        let images = self
            .images
            .f_index_select(0, &Tensor::f_from_slice(numbers)?)?
            .f_to_device(device)?
            .f_to_kind(Kind::Float)?;
        let options = (Kind::Float, device);
        let uniform = |low: f64, high: f64| -> Result<Tensor, tch::TchError> {
            Tensor::f_rand([batch], options)?
                .f_mul_scalar(high - low)?
                .f_add_scalar(low)
        };
        let theta = if augment {
            let angle = uniform(-0.17, 0.17)?;
            let scale = uniform(0.87, 1.25)?;
            let flip = uniform(-1.0, 1.0)?.f_sign()?;
            let (cos, sin) = (angle.f_cos()?.f_mul(&scale)?, angle.f_sin()?.f_mul(&scale)?);
            let rows = [
                cos.f_mul(&flip)?,
                sin.f_neg()?,
                uniform(-0.25, 0.25)?,
                sin.f_mul(&flip)?,
                cos,
                uniform(-0.25, 0.25)?,
            ];
            Tensor::f_stack(&rows, 1)?.f_view([batch, 2, 3])?
        } else {
            Tensor::f_eye_m(2, 3, options)?
                .f_unsqueeze(0)?
                .f_expand([batch, 2, 3], false)?
        };
        let side = i64::from(side);
        let grid = Tensor::f_affine_grid_generator(&theta, [batch, 3, side, side], false)?;
        const BILINEAR: i64 = 0;
        const MIRROR: i64 = 2;
        let images = images.f_grid_sampler(&grid, BILINEAR, MIRROR, false)?;
        if !augment {
            return Ok(images);
        }
        let view = [batch, 1, 1, 1];
        let centre = images.f_mean_dim([1i64, 2, 3].as_slice(), true, Kind::Float)?;
        let images = images
            .f_sub(&centre)?
            .f_mul(&uniform(0.8, 1.2)?.f_view(view)?)?;
        let images = images.f_add(&centre.f_mul(&uniform(0.8, 1.2)?.f_view(view)?)?)?;
        Ok(images.f_clamp(0.0, 255.0)?)
    }
}
