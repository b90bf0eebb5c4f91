//! Converts TIFF samples that libtiff unpacks but does not convert correctly: of any depth, signed
//! or floating-point; grey, RGB or Lab.

use crate::{
    decoder_process::{answer::Pixels, libtiff::Open},
    headers::tiff::Directory,
};

/// Decodes a picture. Returns `None` if its variant is not supported or a part of it cannot be
/// read.
pub(super) fn decode(open: &Open, directory: &Directory) -> Option<Pixels> {
    let colours = match directory.photometric {
        0 | 1 => 1,
        2 => 3,
        8 | 9 if directory.bits == 8 => 3,
        _ => return None,
    };
    let samples = usize::try_from(directory.samples)
        .ok()
        .filter(|&samples| samples >= colours)?;
    let alpha = matches!(directory.extra, Some(1 | 2)) && samples > colours;
    let wanted = colours + usize::from(alpha);
    let (width, height) = (directory.width as usize, directory.height as usize);
    let mut values = vec![0f32; width * height * wanted];
    let planes = if directory.planar { wanted } else { 1 };
    let in_plane = if directory.planar { 1 } else { samples };
    for (plane, number) in (0..planes).zip(0u16..) {
        let mut put = |x: usize, y: usize, row: &[u8], count: usize| {
            for column in 0..count.min(width - x) {
                for channel in 0..in_plane.min(wanted) {
                    let value = sample(row, column * in_plane + channel, directory);
                    values[(y * width + x + column) * wanted + plane + channel] = value?;
                }
            }
            Some(())
        };
        match directory.tile {
            None => rows(open, directory.height, number, |y, row| {
                put(0, y, row, width)
            })?,
            Some(tile) => {
                let size = (directory.width, directory.height);
                tiles(open, size, tile, number, &mut put)?;
            }
        }
    }
    let white = white(&values, directory);
    let to_byte = |value: f32| (value / white * 255.0).round().clamp(0.0, 255.0);
    let mut rgb = Vec::with_capacity(width * height * 3);
    for pixel in values.chunks_exact(wanted) {
        let opacity = if alpha {
            to_byte(pixel[colours])
        } else {
            255.0
        };
        let shown = match directory.photometric {
            8 | 9 => rgb_of_lab(pixel, directory.photometric == 8),
            _ => std::array::from_fn(|channel| pixel[channel.min(colours - 1)]),
        };
        for value in shown {
            let value = to_byte(value);
            let value = if directory.photometric == 0 {
                255.0 - value
            } else {
                value
            };
            let value = if directory.extra == Some(1) && alpha {
                value
            } else {
                value * opacity / 255.0
            };
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is clamped to 0…255; the cast makes 0 of no number"
            )]
            let byte = (value + 255.0 - opacity).round().clamp(0.0, 255.0) as u8;
            rgb.push(byte);
        }
    }
    Some(Pixels {
        width: directory.width,
        height: directory.height,
        rgb,
    })
}

fn rows(
    open: &Open,
    height: u32,
    plane: u16,
    mut put: impl FnMut(usize, &[u8]) -> Option<()>,
) -> Option<()> {
    // SAFETY: the buffer has the length that libtiff states for a row.
    unsafe {
        let mut row = vec![0; usize::try_from((open.library.TIFFScanlineSize64)(open.file)).ok()?];
        for y in 0..height {
            if (open.library.TIFFReadScanline)(open.file, row.as_mut_ptr(), y, plane) < 0 {
                return None;
            }
            put(y as usize, &row)?;
        }
    }
    Some(())
}

fn tiles(
    open: &Open,
    (width, height): (u32, u32),
    (wide, high): (u32, u32),
    plane: u16,
    put: &mut impl FnMut(usize, usize, &[u8], usize) -> Option<()>,
) -> Option<()> {
    let (wide, high) = (wide.max(1), high.max(1));
    // SAFETY: the buffer has the length that libtiff states for a tile.
    unsafe {
        let mut tile = vec![0; usize::try_from((open.library.TIFFTileSize64)(open.file)).ok()?];
        let row = usize::try_from((open.library.TIFFTileRowSize64)(open.file))
            .ok()?
            .max(1);
        for y in (0..height).step_by(high as usize) {
            for x in (0..width).step_by(wide as usize) {
                if (open.library.TIFFReadTile)(open.file, tile.as_mut_ptr(), x, y, 0, plane) < 0 {
                    return None;
                }
                let lines = high.min(height - y) as usize;
                for (line, row) in tile.chunks(row).take(lines).enumerate() {
                    put(x as usize, y as usize + line, row, wide as usize)?;
                }
            }
        }
    }
    Some(())
}

/// Reads a sample of a row. Integers become fractions of the largest value. The smallest signed
/// integer becomes 0.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a number has as many bits as its type; fractions round to single precision"
)]
fn sample(row: &[u8], at: usize, directory: &Directory) -> Option<f32> {
    let bits = usize::try_from(directory.bits).ok()?;
    let number = match bits {
        8 | 16 | 32 | 64 => {
            let length = bits / 8;
            let bytes = row.get(at * length..(at + 1) * length)?;
            bytes
                .iter()
                .rev()
                .fold(0, |number, &byte| number << 8 | u64::from(byte))
        }
        // libtiff returns 24 bits in the machine's byte order.
        24 => row
            .get(at * 3..at * 3 + 3)?
            .iter()
            .rev()
            .fold(0, |number, &byte| number << 8 | u64::from(byte)),
        // Samples are packed without gaps, the highest bit first.
        1..64 => (at * bits..(at + 1) * bits).try_fold(0, |number, bit| {
            Some(number << 1 | u64::from(row.get(bit / 8)? >> (7 - bit % 8) & 1))
        })?,
        _ => return None,
    };
    let largest = u64::MAX >> (64 - bits);
    Some(match (directory.format, bits) {
        (1 | 4, _) => (number as f64 / largest as f64) as f32,
        (2, _) => ((number ^ (largest / 2 + 1)) as f64 / largest as f64) as f32,
        (3, 16) => half(number as u16),
        (3, 32) => f32::from_bits(number as u32),
        (3, 64) => f64::from_bits(number) as f32,
        _ => return None,
    })
}

/// Converts a floating-point number of 16 bits.
fn half(bits: u16) -> f32 {
    let (sign, exponent, fraction) = (
        bits >> 15,
        i32::from(bits >> 10 & 31),
        f32::from(bits & 1023),
    );
    let size = match exponent {
        0 => fraction / 1024.0 * 2f32.powi(-14),
        31 => return f32::NAN,
        _ => (1.0 + fraction / 1024.0) * 2f32.powi(exponent - 15),
    };
    if sign == 1 { -size } else { size }
}

/// Converts lightness and two chromas, in fractions of 255, to sRGB. The white point is D50, as in
/// print. Chromas are signed bytes, or bytes that begin at -128.
fn rgb_of_lab(pixel: &[f32], signed: bool) -> [f32; 3] {
    let chroma = |fraction: f32| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the fraction was made from a byte"
        )]
        let byte = (fraction * 255.0).round() as u8;
        if signed {
            f32::from(byte.cast_signed())
        } else {
            f32::from(byte) - 128.0
        }
    };
    let y = (pixel[0] * 100.0 + 16.0) / 116.0;
    let [x, y, z] = [
        (y + chroma(pixel[1]) / 500.0, 0.96422),
        (y, 1.0),
        (y - chroma(pixel[2]) / 200.0, 0.82521),
    ]
    .map(|(root, white)| {
        let cube = if root > 6.0 / 29.0 {
            root.powi(3)
        } else {
            (root - 4.0 / 29.0) * 108.0 / 841.0
        };
        cube * white
    });
    [
        [3.13386, -1.61687, -0.49061],
        [-0.97877, 1.91614, 0.03345],
        [0.07195, -0.22899, 1.40524],
    ]
    .map(|[by_x, by_y, by_z]: [f32; 3]| {
        let light = (by_x * x + by_y * y + by_z * z).clamp(0.0, 1.0);
        if light <= 0.003_130_8 {
            light * 12.92
        } else {
            1.055 * light.powf(1.0 / 2.4) - 0.055
        }
    })
}

/// Returns the value of white: 1 if no floating-point sample is larger, otherwise 255, 65,535 or
/// the largest sample.
fn white(values: &[f32], directory: &Directory) -> f32 {
    if directory.format != 3 {
        return 1.0;
    }
    match values
        .iter()
        .copied()
        .filter(|value| value.is_finite())
        .fold(0.0, f32::max)
    {
        ..=1.0 => 1.0,
        ..=255.0 => 255.0,
        ..=65_535.0 => 65_535.0,
        largest => largest,
    }
}
