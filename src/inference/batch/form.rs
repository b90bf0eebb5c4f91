//! Which of the waiting images make the next batch. Pure: no thread, clock or model.
//! Knows only order and size; who is kept its caller says.

/// Takes items off a queue, in order, until `most` of them are kept or there are no more.
pub(crate) fn batch<T>(
    first: T,
    mut next: impl FnMut() -> Option<T>,
    mut keep: impl FnMut(T) -> Option<T>,
    most: usize,
) -> Vec<T> {
    let mut batch = Vec::new();
    let mut item = Some(first);
    while let Some(taken) = item {
        batch.extend(keep(taken));
        item = if batch.len() < most { next() } else { None };
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::batch;

    #[test]
    fn takes_what_is_kept_up_to_the_most() {
        let odd = |i: &i32| i % 2 == 1;
        let mut queue = 2..10;
        let taken = batch(1, || queue.next(), |i| Some(i).filter(odd), 3);
        assert_eq!(taken, [1, 3, 5]);
        assert_eq!(queue.next(), Some(6));
        assert_eq!(batch(0, || None, |i| Some(i).filter(odd), 3), [0; 0]);
    }
}
