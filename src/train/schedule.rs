//! The learning rate over a run: a short linear rise, then half a cosine down to nothing.
//! Knows step numbers only.

/// The factor, 0…1, on the highest rate at `step` of `steps`, the first `rise` of them rising.
pub fn factor(step: usize, steps: usize, rise: usize) -> f64 {
    if step < rise {
        return (step + 1) as f64 / rise as f64;
    }
    let done = (step - rise) as f64 / steps.saturating_sub(rise).max(1) as f64;
    0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos())
}

#[cfg(test)]
mod tests {
    use super::factor;

    #[test]
    fn rises_then_falls() {
        assert_eq!(factor(0, 100, 10), 0.1);
        assert_eq!(factor(10, 100, 10), 1.0);
        assert!(factor(55, 100, 10) < 0.51);
        assert!(factor(99, 100, 10) < 0.001);
        assert_eq!(factor(0, 1, 0), 1.0);
    }
}
