//! Which device a name stands for, and why one cannot be had; which type it computes in. Knows the names and asks what is there;
//! computes nothing.

use tch::{Device, Kind};

use super::{ModelError, cuda};
use crate::options::Precision;

/// What there is to compute on here, as lines of text: whether the processor computes in bf16, whether libtorch's CUDA half is installed
/// (`has_cudart`), and which GPUs it sees.
pub fn devices() -> String {
    let opened = cuda::open();
    let mut lines = vec![
        format!(
            "cpu: bf16 {}",
            if computes_bf16() { "fast" } else { "slow" }
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

/// The device a name stands for: `auto`, `cpu`, `cuda` or `cuda:N`.
///
/// # Errors
/// [`ModelError::Device`] for an unknown name, and where CUDA is asked for and absent.
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
            _ => return refuse("devices are auto, cpu, cuda and cuda:N".to_owned()),
        },
    };
    let opened = cuda::open();
    let there = match opened {
        Ok(()) => tch::Cuda::device_count().max(0) as usize,
        Err(_) => 0,
    };
    match opened {
        _ if number < there => Ok(Device::Cuda(number)),
        _ if name == "auto" => Ok(Device::Cpu),
        Ok(()) => refuse(format!("CUDA sees {there} devices here; use cpu or auto")),
        Err(reason) => refuse(format!(
            "libtorch's CUDA libraries are not installed ({reason}); run `make libtorch DEVICE=cuda`, or take the image that was built with it, or use cpu"
        )),
    }
}

/// The devices that names with commas between stand for here, by their own names: `cpu`, `cuda:N`.
///
/// # Errors
/// As [`device`].
pub fn resolved(names: &str) -> Result<String, ModelError> {
    let own = names.split(',').map(|name| match device(name.trim())? {
        Device::Cuda(number) => Ok(format!("cuda:{number}")),
        _ => Ok("cpu".to_owned()),
    });
    Ok(own.collect::<Result<Vec<_>, ModelError>>()?.join(","))
}

/// Whether a name stands for the CPU here.
///
/// # Errors
/// As [`device`].
pub fn is_cpu(name: &str) -> Result<bool, ModelError> {
    Ok(device(name)? == Device::Cpu)
}

/// What new codes are best made in on some devices: bf16 where all of them have instructions for it.
///
/// # Errors
/// As [`device`].
pub fn preferred(names: &str) -> Result<Precision, ModelError> {
    let mut fast = true;
    for name in names.split(',') {
        fast &= !is_cpu(name.trim())? || computes_bf16();
    }
    Ok(if fast {
        Precision::Bf16
    } else {
        Precision::Fp32
    })
}

/// The type that a precision stands for; auto is fp32. Warns of a CPU that has no instructions for it.
pub fn kind(precision: Precision, device: Device) -> Kind {
    match precision {
        Precision::Auto | Precision::Fp32 => Kind::Float,
        Precision::Bf16 => {
            if device == Device::Cpu && !computes_bf16() {
                tracing::warn!(
                    "this CPU has no AVX512-BF16: in bf16 it computes many times slower than in fp32"
                );
            }
            Kind::BFloat16
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn computes_bf16() -> bool {
    std::arch::is_x86_feature_detected!("avx512bf16")
}

#[cfg(not(target_arch = "x86_64"))]
fn computes_bf16() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// What `make libtorch DEVICE=cuda` brings has to be usable, on a machine without a GPU as far as that goes. It leaves a stamp; libtorch
    /// of another origin has none.
    #[test]
    fn cuda_is_loaded_where_it_is_installed() {
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
    fn a_device_that_is_not_there_is_refused_with_what_is() {
        let refused = |name| device(name).unwrap_err().to_string();
        let unknown = "device 'gpu': devices are auto, cpu, cuda and cuda:N";
        assert_eq!(refused("gpu"), unknown);
        let expected = match cuda::open() {
            Ok(()) => format!("CUDA sees {} devices here", tch::Cuda::device_count()),
            Err(reason) => format!("libtorch's CUDA libraries are not installed ({reason})"),
        };
        let absent = refused("cuda:9999");
        assert!(absent.contains(&expected), "{absent}");
    }
}
