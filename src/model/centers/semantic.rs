//! Hash centres that stand near where classes are near: ITQ (Gong and Lazebnik, 2011) on the rows of a classifier.
//! Knows a matrix; neither what the classes are nor images.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor};

use crate::{
    code::{HashCode, Length},
    model::{ModelError, codes},
};

/// Random starts of ITQ, of which the one whose signs say most is taken.
const STARTS: usize = 10;
/// Turns of ITQ from each.
const TURNS: usize = 50;

/// A centre for each row of a classifier's weights, `[classes, feature]`: the rows' principal components, as many as bits, turned so
/// that their signs say most of them. Beside the centres, how far each bit is from being another, 1 in the mean: `[classes, bits]`,
/// positive where the bit is set. The same for the same seed.
///
/// # Errors
/// [`ModelError::Tensor`], also where there are fewer classes or entries than bits.
pub fn semantic(
    weight: &Tensor,
    length: Length,
    seed: u64,
) -> Result<(Vec<HashCode>, Tensor), ModelError> {
    let bits = length.bits() as i64;
    let rows = weight.f_to_kind(Kind::Double)?.f_to_device(Device::Cpu)?;
    let rows = rows.f_sub(&rows.f_mean_dim([0i64].as_slice(), true, Kind::Double)?)?;
    let (_, _, components) = rows.f_svd(true, true)?; // [entries, …]
    let principal = rows.f_matmul(&components.f_narrow(1, 0, bits)?)?; // [classes, bits]
    // libtorch's own generator is everyone's.
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let starts = (0..STARTS).map(|_| turned(&principal, &mut rng));
    let starts = starts.collect::<Result<Vec<_>, _>>()?;
    let best = starts
        .into_iter()
        .min_by(|(one, _), (other, _)| one.total_cmp(other));
    let (_, turned) = best.unwrap_or((0.0, principal));
    let codes = codes(&[length], &turned.f_unsqueeze(0)?)?;
    Ok((codes.concat(), turned))
}

/// ITQ from a random start: what signs leave unsaid, and the components turned and scaled to a mean size of 1.
fn turned(principal: &Tensor, rng: &mut ChaCha8Rng) -> Result<(f64, Tensor), ModelError> {
    let bits = principal.size2()?.1;
    let random: Vec<f64> = (0..bits * bits)
        .map(|_| rng.random_range(-1.0..1.0))
        .collect();
    let random = Tensor::f_from_slice(&random)?.f_view([bits, bits])?;
    let (mut turn, _) = Tensor::f_linalg_qr(&random, "reduced")?;
    for _ in 0..TURNS {
        let signs = principal.f_matmul(&turn)?.f_sign()?;
        let (u, _, v) = signs.f_tr()?.f_matmul(principal)?.f_svd(true, true)?;
        turn = v.f_matmul(&u.f_tr()?)?;
    }
    let turned = principal.f_matmul(&turn)?;
    let turned = turned.f_div(&turned.f_abs()?.f_mean(Kind::Double)?)?;
    let unsaid = turned.f_sub(&turned.f_sign()?)?.f_square()?;
    let unsaid = f64::try_from(unsaid.f_mean(Kind::Double)?)?;
    Ok((unsaid, turned.f_to_kind(Kind::Float)?))
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
            let (centers, sure) = semantic(&weight, length, 1).unwrap();
            assert_eq!(centers, semantic(&weight, length, 1).unwrap().0);
            assert_eq!(sure.size(), [120, length.bits() as i64]);
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
