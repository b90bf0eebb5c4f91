//! Random changes of a picture that do not change its class: crop, mirror, rotation, light, colour,
//! and a blotted-out rectangle. All geometry is one bilinear sampling, so a picture is interpolated
//! only once.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

/// The strength of random changes. All zeros, with `area` and `aspect` of 1, change nothing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Augment {
    /// Minimum share of a picture's area in a crop, above 0 and at most 1.
    pub area: f64,
    /// Maximum ratio of a crop's sides, at least 1.
    pub aspect: f64,
    /// Maximum extent of a crop beyond each edge, as a share of the side. Edges are mirrored.
    pub margin: f64,
    /// The probability that a picture is mirrored.
    pub mirror: f64,
    /// Maximum rotation to either side, in radians.
    pub turn: f64,
    /// Maximum difference from 1 of the factors of brightness, contrast and saturation.
    pub colour: f64,
    /// The probability that a rectangle is blotted out with the picture's mean colour.
    pub blot: f64,
    /// Maximum share of the area that this rectangle covers.
    pub blot_area: f64,
}

impl Augment {
    /// Derives all changes from one strength: 0 changes nothing, and 1 is the strongest that keeps
    /// natural pictures recognisable.
    pub fn new(strength: f64) -> Self {
        Augment {
            area: 1.0 - 0.5 * strength,
            aspect: (4.0f64 / 3.0).powf(strength),
            margin: 0.125 * strength,
            mirror: strength.min(0.5),
            turn: 0.35 * strength,
            colour: 0.4 * strength,
            blot: 0.5 * strength,
            blot_area: 0.25 * strength,
        }
    }

    /// Draws the changes of one picture.
    pub(crate) fn draw(&self, rng: &mut ChaCha8Rng) -> Transform {
        let mut between = |low: f64, high: f64| low + (high - low) * rng.random::<f64>();
        let spread = self.aspect.ln();
        let (area, aspect) = (between(self.area, 1.0), between(-spread, spread).exp());
        let (width, height) = (
            (area * aspect).sqrt().min(1.0),
            (area / aspect).sqrt().min(1.0),
        );
        let mut place = |size: f64| {
            let free = 0.5 * (1.0 - size) + self.margin;
            between(-free, free)
        };
        let (x, y) = (place(width), place(height));
        let mirrored = between(0.0, 1.0) < self.mirror;
        let (sin, cos) = between(-self.turn, self.turn).sin_cos();
        let mut factor = || between(1.0 - self.colour, 1.0 + self.colour);
        let (brightness, contrast, saturation) = (factor(), factor(), factor());
        let blotted = between(0.0, 1.0) < self.blot;
        let (area, aspect) = (between(0.0, self.blot_area), between(-1.0, 1.0).exp());
        let blot = (
            (area * aspect).sqrt().min(1.0),
            (area / aspect).sqrt().min(1.0),
        );
        let corner = (between(0.0, 1.0 - blot.0), between(0.0, 1.0 - blot.1));
        let across = if mirrored { -width } else { width };
        Transform {
            rows: [
                [cos * across, -sin * height, x],
                [sin * across, cos * height, y],
            ]
            .map(|row| row.map(|entry| entry as f32)),
            own: (saturation * contrast) as f32,
            grey: ((1.0 - saturation) * contrast) as f32,
            mean: (brightness - contrast) as f32,
            blot: blotted.then_some((corner, (corner.0 + blot.0, corner.1 + blot.1))),
        }
    }
}

/// The changes of one picture.
pub(crate) struct Transform {
    /// Maps a place in the new picture to one in the old picture: `rows · (x, y, 1)`. Both are
    /// measured from the middle, in sides.
    rows: [[f32; 3]; 2],
    /// A new channel is the sum of this share of the old channel, …
    own: f32,
    /// … this share of the pixel's grey, …
    grey: f32,
    /// … and this share of the whole picture's mean. Contrast is relative to that mean, saturation
    /// to grey.
    mean: f32,
    /// First and last corner of the blotted rectangle, in sides from the first corner of the
    /// picture.
    blot: Option<((f64, f64), (f64, f64))>,
}

impl Default for Transform {
    fn default() -> Self {
        Transform {
            rows: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]],
            own: 1.0,
            grey: 0.0,
            mean: 0.0,
            blot: None,
        }
    }
}

impl Transform {
    /// Samples `[from, from, 3]` to `[3, to, to]`.
    pub fn sample(&self, picture: &[u8], from: usize, target: &mut [u8], to: usize) {
        let means = means(picture);
        let shift = self.mean * means.iter().sum::<f32>() / 3.0;
        let colour = |[r, g, b, _]: Pixel| {
            let grey = self.grey * (0.299 * r + 0.587 * g + 0.114 * b) + shift;
            // The cast saturates at 0 and 255.
            let changed = |channel: f32| (self.own * channel + grey + 0.5) as u8;
            [changed(r), changed(g), changed(b)]
        };
        let pixels = picture.chunks_exact(3);
        let pixels: Vec<Pixel> = pixels
            .map(|rgb| padded([rgb[0], rgb[1], rgb[2]].map(f32::from)))
            .collect();
        let (red, rest) = target.split_at_mut(to * to);
        let (green, blue) = rest.split_at_mut(to * to);
        let mut put = |at: usize, [r, g, b]: [u8; 3]| (red[at], green[at], blue[at]) = (r, g, b);
        let (side, step) = (from as f32, 1.0 / to as f32);
        for row in 0..to {
            let y = (row as f32 + 0.5) * step - 0.5;
            for column in 0..to {
                let x = (column as f32 + 0.5) * step - 0.5;
                let place =
                    |[a, b, c]: [f32; 3]| mirror((a * x + b * y + c + 0.5) * side - 0.5, side);
                let [across, down] = self.rows;
                let pixel = bilinear(&pixels, from, place(across), place(down));
                put(row * to + column, colour(pixel));
            }
        }
        if let Some((first, last)) = self.blot {
            let fill = colour(padded(means));
            let pixels =
                |low: f64, high: f64| (low * to as f64) as usize..(high * to as f64) as usize;
            for row in pixels(first.1, last.1) {
                for column in pixels(first.0, last.0) {
                    put(row * to + column, fill);
                }
            }
        }
    }
}

/// Returns the mean of each channel of a picture, `[side, side, 3]`.
fn means(picture: &[u8]) -> [f32; 3] {
    let mut sums = [0u32; 3];
    for pixel in picture.chunks_exact(3) {
        for (sum, &channel) in sums.iter_mut().zip(pixel) {
            *sum += u32::from(channel);
        }
    }
    sums.map(|sum| sum as f32 / (picture.len() / 3) as f32)
}

/// Maps a place in pixels into 0…side − 1, reflected at the edges as often as necessary.
#[inline]
fn mirror(place: f32, side: f32) -> f32 {
    if (0.0..=side - 1.0).contains(&place) {
        return place;
    }
    let place = (place + 0.5).rem_euclid(2.0 * side);
    (place.min(2.0 * side - place) - 0.5).clamp(0.0, side - 1.0)
}

/// Red, green, blue and a zero: the width of a processor's vector operations.
type Pixel = [f32; 4];

#[inline]
fn padded([r, g, b]: [f32; 3]) -> Pixel {
    [r, g, b, 0.0]
}

/// Interpolates between four pixels; the place is inside the picture.
#[inline]
fn bilinear(pixels: &[Pixel], side: usize, x: f32, y: f32) -> Pixel {
    let (left, top) = (x as usize, y as usize);
    let (right, bottom) = ((left + 1).min(side - 1), (top + 1).min(side - 1));
    let (x, y) = (x - left as f32, y - top as f32);
    let pixel = |column: usize, row: usize| pixels[row * side + column];
    let mix = |a: Pixel, b: Pixel, share: f32| -> Pixel {
        let mixed = |c: usize| a[c] + (b[c] - a[c]) * share;
        [mixed(0), mixed(1), mixed(2), mixed(3)]
    };
    let upper = mix(pixel(left, top), pixel(right, top), x);
    let lower = mix(pixel(left, bottom), pixel(right, bottom), x);
    mix(upper, lower, y)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;

    use super::*;

    /// Makes a picture of this side with a smooth ramp.
    fn ramp(side: usize) -> Vec<u8> {
        let colour_at = |i: usize| [i % side, i / side, i % side + i / side];
        (0..side * side)
            .flat_map(|i| colour_at(i).map(|value| (value * 100 / side) as u8))
            .collect()
    }

    fn planar(picture: &[u8]) -> Vec<u8> {
        (0..3)
            .flat_map(|c| picture.iter().skip(c).step_by(3).copied())
            .collect()
    }

    fn sample(transform: &Transform, picture: &[u8], from: usize, to: usize) -> Vec<u8> {
        let mut target = vec![0; 3 * to * to];
        transform.sample(picture, from, &mut target, to);
        target
    }

    #[test]
    fn strength_0_changes_nothing() {
        let picture = ramp(16);
        let none = Augment::new(0.0).draw(&mut ChaCha8Rng::seed_from_u64(0));
        for transform in [none, Transform::default()] {
            assert_eq!(sample(&transform, &picture, 16, 16), planar(&picture));
        }
    }

    #[test]
    fn sampling_agrees_with_libtorch() {
        let (from, to) = (13, 24);
        let picture = ramp(from);
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let geometry = Augment {
            colour: 0.0,
            blot: 0.0,
            margin: 0.6,
            ..Augment::new(1.0)
        };
        let images =
            tch::Tensor::from_slice(&planar(&picture)).view([1, 3, from as i64, from as i64]);
        for _ in 0..20 {
            let transform = geometry.draw(&mut rng);
            // libtorch's coordinates have sides of length 2.
            let rows = transform.rows.map(|[a, b, c]| [a, b, 2.0 * c]).concat();
            let theta = tch::Tensor::from_slice(&rows).view([1, 2, 3]);
            let grid =
                tch::Tensor::affine_grid_generator(&theta, [1, 3, to as i64, to as i64], false);
            let expected = images
                .to_kind(tch::Kind::Float)
                .grid_sampler(&grid, 0, 2, false);
            let expected = Vec::<f32>::try_from(expected.flatten(0, -1)).unwrap();
            let found = sample(&transform, &picture, from, to);
            for (found, expected) in found.iter().zip(&expected) {
                assert!(
                    (f32::from(*found) - expected).abs() < 0.51,
                    "{found} {expected}"
                );
            }
        }
    }

    #[test]
    fn colour_changes_are_relative_to_mean_and_grey() {
        let picture = [[10, 20, 30], [30, 40, 50]].concat().repeat(2);
        let transform = |own, grey, mean| Transform {
            own,
            grey,
            mean,
            ..Transform::default()
        };
        let pixel = |transform: Transform| {
            let target = sample(&transform, &picture, 2, 2);
            [target[0], target[4], target[8]]
        };
        // Brightness 2; contrast 0, relative to the mean of 30; saturation 0, to a grey of 18.15.
        assert_eq!(pixel(transform(1.0, 0.0, 1.0)), [40, 50, 60]);
        assert_eq!(pixel(transform(0.0, 0.0, 1.0)), [30; 3]);
        assert_eq!(pixel(transform(0.0, 1.0, 0.0)), [18; 3]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_strength_and_side_can_be_sampled(strength in 0.0..=1.0, from in 1usize..20, to in 1usize..20, seed: u64) {
            let transform = Augment::new(strength).draw(&mut ChaCha8Rng::seed_from_u64(seed));
            let grey = vec![120; 3 * from * from];
            let even = Augment { colour: 0.0, ..Augment::new(strength) };
            let kept = even.draw(&mut ChaCha8Rng::seed_from_u64(seed));
            prop_assert!(sample(&kept, &grey, from, to).iter().all(|&value| value == 120));
            let _ = sample(&transform, &ramp(from), from, to);
        }

        #[test]
        fn a_place_is_mirrored_into_the_picture(place in -50.0f32..50.0, side in 1u8..9) {
            let side = f32::from(side);
            let within = mirror(place, side);
            prop_assert!((0.0..=side - 1.0).contains(&within));
            prop_assert!((mirror(-1.0 - place, side) - within).abs() < 1e-4);
        }
    }
}
