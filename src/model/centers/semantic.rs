//! Hash centres that stand near where classes are near: ITQ (Gong and Lazebnik, 2011) on the rows of a classifier.
//! Knows a matrix; neither what the classes are nor images.

use tch::{Device, Kind, Tensor};

use crate::{
    code::{HashCode, Length},
    model::{ModelError, codes},
};

/// Turns of ITQ.
const TURNS: usize = 50;

/// A centre for each row of a classifier's weights, `[classes, feature]`: the rows' principal components, as many as bits, turned so
/// that their signs say most of them. The same for the same seed.
///
/// # Errors
/// [`ModelError::Tensor`], also where there are fewer classes or entries than bits.
pub fn semantic(weight: &Tensor, length: Length, seed: u64) -> Result<Vec<HashCode>, ModelError> {
    let bits = length.bits() as i64;
    let rows = weight.f_to_kind(Kind::Double)?.f_to_device(Device::Cpu)?;
    let rows = rows.f_sub(&rows.f_mean_dim([0i64].as_slice(), true, Kind::Double)?)?;
    let (_, _, components) = rows.f_svd(true, true)?; // [entries, …]
    let principal = rows.f_matmul(&components.f_narrow(1, 0, bits)?)?; // [classes, bits]
    tch::manual_seed(seed as i64);
    let random = Tensor::f_randn([bits, bits], (Kind::Double, Device::Cpu))?;
    let (mut turn, _) = Tensor::f_linalg_qr(&random, "reduced")?;
    for _ in 0..TURNS {
        let signs = principal.f_matmul(&turn)?.f_sign()?;
        let (u, _, v) = signs.f_tr()?.f_matmul(&principal)?.f_svd(true, true)?;
        turn = v.f_matmul(&u.f_tr()?)?;
    }
    let turned = principal.f_matmul(&turn)?.f_to_kind(Kind::Float)?;
    let codes = codes(&[length], &turned.f_unsqueeze(0)?)?;
    Ok(codes.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_classes_get_near_centres() {
        tch::manual_seed(4);
        let options = (Kind::Float, Device::Cpu);
        // 30 groups of 4 classes.
        let groups = Tensor::randn([30, 1, 64], options).expand([30, 4, 64], false);
        let weight = (groups + Tensor::randn([30, 4, 64], options) * 0.2).reshape([120, 64]);
        for length in Length::ALL {
            let centers = semantic(&weight, length, 1).unwrap();
            assert_eq!(centers, semantic(&weight, length, 1).unwrap());
            let (mut near, mut far) = (Vec::new(), Vec::new());
            for i in 0..120 {
                for j in 0..i {
                    let distance = f64::from(centers[i].distance(&centers[j]).unwrap());
                    if i / 4 == j / 4 {
                        near.push(distance)
                    } else {
                        far.push(distance)
                    }
                }
            }
            let mean =
                |all: &[f64]| all.iter().sum::<f64>() / all.len() as f64 / length.bits() as f64;
            assert!(
                mean(&near) < 0.2 && mean(&far) > 0.4,
                "{length}: {} {}",
                mean(&near),
                mean(&far)
            );
        }
        assert!(semantic(&weight.narrow(0, 0, 10), Length::L24, 1).is_err());
    }
}
