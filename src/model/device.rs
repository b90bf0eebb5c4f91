//! Which device a name stands for, and why one cannot be had. Knows the names and asks libtorch what is there; computes nothing.

use tch::Device;

use super::{ModelError, cuda};

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
            "libtorch's CUDA libraries are not installed ({reason}); run `make libtorch DEVICE=cuda`, or use cpu"
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// What `make libtorch DEVICE=cuda` brings has to be usable, on a machine without a GPU as far as that goes.
    #[test]
    fn cuda_is_loaded_where_it_is_installed() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".libtorch");
        let installed = folder.read_dir().unwrap().any(|entry| {
            let name = entry.unwrap().file_name();
            name.as_encoded_bytes().starts_with(b".cuda-")
        });
        device("auto").unwrap();
        assert_eq!(tch::utils::has_cudart(), installed);
        for (name, words) in [("cuda:9999", "cpu or auto"), ("gpu", "cuda:N")] {
            let error = device(name).unwrap_err().to_string();
            assert!(
                error.contains(words) || error.contains("use cpu"),
                "{error}"
            );
        }
    }
}
