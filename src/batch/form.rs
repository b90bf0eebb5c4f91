//! Which of the waiting images make the next batch. Pure: no thread, clock or model.
//! Knows only order, size and who has hung up.

/// Takes up to `most` items off a queue, in order, passing over those nobody waits for any more.
pub(super) fn batch<T>(
    first: T,
    mut next: impl FnMut() -> Option<T>,
    wanted: impl Fn(&T) -> bool,
    most: usize,
) -> Vec<T> {
    let mut batch = Vec::new();
    let mut item = Some(first);
    while let Some(taken) = item {
        if wanted(&taken) {
            batch.push(taken);
        }
        item = if batch.len() < most { next() } else { None };
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::batch;

    #[test]
    fn takes_what_is_wanted_up_to_the_most() {
        let mut queue = 2..10;
        assert_eq!(batch(1, || queue.next(), |i| i % 2 == 1, 3), [1, 3, 5]);
        assert_eq!(queue.next(), Some(6));
        assert_eq!(batch(0, || None, |i| i % 2 == 1, 3), [0; 0]);
    }
}
