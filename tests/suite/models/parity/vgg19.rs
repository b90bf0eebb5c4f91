//! Generates the weights of `reference_vgg19.py`: a file of torchvision's VGG-19, with its names
//! and order. The weights are 11-bit numbers times powers of two, which half precision holds
//! exactly.

use std::path::Path;

use tch::{Device, Kind, Tensor};

/// Number, input and output channels of each convolution.
const CONVOLUTIONS: [(i64, i64, i64); 16] = [
    (0, 3, 64),
    (2, 64, 64),
    (5, 64, 128),
    (7, 128, 128),
    (10, 128, 256),
    (12, 256, 256),
    (14, 256, 256),
    (16, 256, 256),
    (19, 256, 512),
    (21, 512, 512),
    (23, 512, 512),
    (25, 512, 512),
    (28, 512, 512),
    (30, 512, 512),
    (32, 512, 512),
    (34, 512, 512),
];
/// Number, inputs and outputs of each fully connected layer, the classifier's included.
const FULL: [(i64, i64, i64); 3] = [(0, 512 * 7 * 7, 4096), (3, 4096, 4096), (6, 4096, 1000)];

/// Returns names and shapes in torchvision's order.
pub fn shapes() -> Vec<(String, Vec<i64>)> {
    let convolutions = CONVOLUTIONS.map(|(n, i, o)| (format!("features.{n}"), vec![o, i, 3, 3]));
    let full = FULL.map(|(n, i, o)| (format!("classifier.{n}"), vec![o, i]));
    let layers = convolutions.into_iter().chain(full);
    layers
        .flat_map(|(name, shape)| {
            let bias = (format!("{name}.bias"), shape[..1].to_vec());
            [(format!("{name}.weight"), shape), bias]
        })
        .collect()
}

/// Writes the weights to a file.
pub fn write(path: &Path) {
    let mut start = 0;
    let tensors: Vec<_> = shapes()
        .into_iter()
        .map(|(name, shape)| {
            let count = shape.iter().product();
            let values = Tensor::zeros([count], (Kind::Half, Device::Cpu));
            let scale = scale(&shape);
            // In parts, because fc6 has 100 million weights.
            for at in (0..count).step_by(1 << 22) {
                let part = at..count.min(at + (1 << 22));
                let numbers = part.clone().map(|i| noise(start + i as u32) * scale);
                let numbers = Tensor::from_slice(&numbers.collect::<Vec<f32>>());
                values.narrow(0, at, part.end - part.start).copy_(&numbers);
            }
            start += count as u32;
            (name, values.view(shape.as_slice()))
        })
        .collect();
    Tensor::write_safetensors(&tensors, path).unwrap();
}

/// Returns −1024…1023, by Murmur's mixer.
fn noise(number: u32) -> f32 {
    let mut x = number.wrapping_mul(0x9e37_79b1);
    x ^= x >> 15;
    x = x.wrapping_mul(0x85eb_ca6b);
    x ^= x >> 13;
    x = x.wrapping_mul(0xc2b2_ae35);
    ((x >> 21) as i32 - 1024) as f32
}

/// Returns the power of two next to He's bound, √(6 / inputs), divided by 1024; for a bias 1/8,
/// divided likewise.
fn scale(shape: &[i64]) -> f32 {
    let inputs: i64 = shape[1..].iter().product();
    let power = match shape.len() {
        1 => 3,
        _ => (0..32)
            .find(|&power| 12 * 4i64.pow(power) >= inputs)
            .unwrap(),
    };
    0.5f32.powi(power as i32 + 10)
}
