//! Devices by name, and the number type that a model computes in on them.

pub mod cuda;

use tch::{Device, Kind};

use crate::{error::ModelError, options::Precision};

/// Describes the devices of this machine in lines of text: whether the processor computes in bf16,
/// whether libtorch's CUDA half is installed (`has_cudart`), and the GPUs that it sees.
pub fn devices() -> String {
    let opened = cuda::open();
    let mut lines = vec![
        format!(
            "cpu: bf16 {}",
            if has_fast_bf16() { "fast" } else { "slow" }
        ),
        format!("has_cudart: {}", tch::utils::has_cudart()),
    ];
    lines.extend(match opened {
        Ok(()) => (0..tch::Cuda::device_count().max(0))
            .map(|number| format!("cuda:{number}"))
            .collect(),
        Err(reason) => vec![format!("no CUDA: {reason}")],
    });
    lines.join("\n")
}

/// Returns the device with this name: `auto`, `cpu`, `cuda` or `cuda:N`.
///
/// # Errors
/// [`ModelError::Device`] if the name is unknown or CUDA is not available.
pub fn device(name: &str) -> Result<Device, ModelError> {
    let refuse = |reason: String| {
        Err(ModelError::Device {
            found: name.to_owned(),
            reason,
        })
    };
    let number: usize = match name {
        "cpu" => return Ok(Device::Cpu),
        "auto" | "cuda" => 0,
        _ => match name.strip_prefix("cuda:").map(str::parse) {
            Some(Ok(number)) => number,
            _ => return refuse("it must be auto, cpu, cuda or cuda:N".to_owned()),
        },
    };
    let opened = cuda::open();
    let count = match opened {
        Ok(()) => tch::Cuda::device_count().max(0) as usize,
        Err(_) => 0,
    };
    match opened {
        _ if number < count => Ok(Device::Cuda(number)),
        _ if name == "auto" => Ok(Device::Cpu),
        Ok(()) => refuse(format!("CUDA sees {count} devices here; use cpu or auto")),
        Err(reason) => refuse(format!(
            "libtorch's CUDA libraries are not installed ({reason}); run `make libtorch DEVICE=cuda`, use the container image that was built with it, or use cpu"
        )),
    }
}

/// Resolves comma-separated names to the devices of this machine: `cpu`, `cuda:N`.
///
/// # Errors
/// As [`device`].
pub fn resolve_devices(names: &str) -> Result<String, ModelError> {
    let own = names.split(',').map(|name| match device(name.trim())? {
        Device::Cuda(number) => Ok(format!("cuda:{number}")),
        _ => Ok("cpu".to_owned()),
    });
    Ok(own.collect::<Result<Vec<_>, ModelError>>()?.join(","))
}

/// Returns true if the name stands for the CPU on this machine.
///
/// # Errors
/// As [`device`].
pub fn is_cpu(name: &str) -> Result<bool, ModelError> {
    Ok(device(name)? == Device::Cpu)
}

/// Returns the precision for new codes: bf16 if all these devices have instructions for it,
/// otherwise fp32.
///
/// # Errors
/// As [`device`].
pub fn preferred_precision(names: &str) -> Result<Precision, ModelError> {
    let mut fast = true;
    for name in names.split(',') {
        fast &= !is_cpu(name.trim())? || has_fast_bf16();
    }
    Ok(if fast {
        Precision::Bf16
    } else {
        Precision::Fp32
    })
}

/// Returns the number type of a precision; auto is fp32. Warns if the CPU has no instructions for
/// it.
pub fn kind(precision: Precision, device: Device) -> Kind {
    match precision {
        Precision::Auto | Precision::Fp32 => Kind::Float,
        Precision::Bf16 => {
            if device == Device::Cpu && !has_fast_bf16() {
                tracing::warn!(
                    "this CPU has no AVX512-BF16: bf16 is many times slower on it than fp32"
                );
            }
            Kind::BFloat16
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn has_fast_bf16() -> bool {
    std::arch::is_x86_feature_detected!("avx512bf16")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_fast_bf16() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The libtorch that `make libtorch DEVICE=cuda` installs must load, even without a GPU. Each
    /// installation leaves a stamp file; a libtorch from elsewhere has none.
    #[test]
    fn cuda_is_loaded_if_it_is_installed() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.libtorch");
        let stamps = folder.read_dir().into_iter().flatten();
        let stamps: Vec<_> = stamps.map(|entry| entry.unwrap().file_name()).collect();
        let is_there = |kind: &str| {
            let mut names = stamps.iter().map(|name| name.to_string_lossy());
            names.any(|name| name.starts_with(kind))
        };
        device("auto").unwrap();
        if is_there(".cuda-") || is_there(".cpu-") {
            assert_eq!(tch::utils::has_cudart(), is_there(".cuda-"));
        }
    }

    #[test]
    fn a_missing_device_is_refused_with_the_reason() {
        let refused = |name| device(name).unwrap_err().to_string();
        let unknown = "device 'gpu': it must be auto, cpu, cuda or cuda:N";
        assert_eq!(refused("gpu"), unknown);
        let expected = match cuda::open() {
            Ok(()) => format!("CUDA sees {} devices here", tch::Cuda::device_count()),
            Err(reason) => format!("libtorch's CUDA libraries are not installed ({reason})"),
        };
        let absent = refused("cuda:9999");
        assert!(absent.contains(&expected), "{absent}");
    }
}
