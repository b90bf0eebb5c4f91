//! Hadamard matrices of order up to 64. Each row is a word whose bit c is set if the entry in
//! column c is +1.

/// Maximum order whose rows fit into a word.
const MAX_ORDER: usize = 64;

/// Returns a Hadamard matrix with a constant row 0, or `None` if no construction reaches the order.
/// Tries Paley's first construction (q + 1 for a prime q ≡ 3 mod 4), then Kronecker products of
/// smaller matrices. Products with order 2 are Sylvester's matrices.
pub(crate) fn hadamard(order: usize) -> Option<Vec<u64>> {
    match order {
        1 => Some(vec![1]),
        2 => Some(vec![0b11, 0b01]),
        3..=MAX_ORDER if order.is_multiple_of(4) => {
            let half = || Some(kronecker(&sylvester(2), &hadamard(order / 2)?));
            paley(order).or_else(half)
        }
        _ => None,
    }
}

/// Returns Sylvester's matrix of order 2ⁿ: the entry at (r, c) is −1 to the power of the number of
/// common bits of r and c.
pub(crate) fn sylvester(order: usize) -> Vec<u64> {
    let entry = |r: usize, c: usize| (r & c).count_ones().is_multiple_of(2);
    (0..order)
        .map(|r| word((0..order).map(|c| entry(r, c))))
        .collect()
}

/// Paley's first construction: H = I + S with a skew S made of quadratic residues.
fn paley(order: usize) -> Option<Vec<u64>> {
    let q = order - 1;
    let prime = (2..q).all(|divisor| !q.is_multiple_of(divisor));
    if !prime || q % 4 != 3 {
        return None;
    }
    let residue: Vec<bool> = (0..q).map(|x| (1..q).any(|y| y * y % q == x)).collect();
    let entry = |r: usize, c: usize| match (r, c) {
        (0, _) => true,
        (_, 0) => false,
        (r, c) => r == c || residue[(q + c - r) % q],
    };
    let rows = (0..order).map(|r| word((0..order).map(|c| entry(r, c))));
    Some(rows.collect())
}

/// Returns the Kronecker product of two Hadamard matrices, which is a Hadamard matrix.
fn kronecker(a: &[u64], b: &[u64]) -> Vec<u64> {
    let order = a.len() * b.len();
    let one = |rows: &[u64], r: usize, c: usize| rows[r] >> c & 1 == 1;
    let entry =
        |r: usize, c: usize| one(a, r / b.len(), c / b.len()) == one(b, r % b.len(), c % b.len());
    (0..order)
        .map(|r| word((0..order).map(|c| entry(r, c))))
        .collect()
}

fn word(entries: impl Iterator<Item = bool>) -> u64 {
    entries
        .enumerate()
        .fold(0, |word, (c, one)| word | u64::from(one) << c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_orthogonal() {
        let reached: Vec<usize> = (1..=MAX_ORDER).filter(|&n| hadamard(n).is_some()).collect();
        // 28 and 56 need a field of 27 elements, 36 and 52 Paley's second construction; none is a
        // code length.
        assert_eq!(
            reached,
            [1, 2, 4, 8, 12, 16, 20, 24, 32, 40, 44, 48, 60, 64]
        );
        for order in reached.into_iter().filter(|&order| order > 1) {
            let mut matrices = vec![hadamard(order).unwrap()];
            if order.is_power_of_two() {
                matrices.push(sylvester(order));
            }
            for rows in matrices {
                assert_eq!(rows.len(), order);
                assert_eq!(rows[0].count_ones() as usize, order);
                for (i, a) in rows.iter().enumerate() {
                    for b in &rows[..i] {
                        assert_eq!((a ^ b).count_ones() as usize, order / 2, "{order}");
                    }
                }
            }
        }
    }
}
