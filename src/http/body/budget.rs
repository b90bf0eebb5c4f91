//! The bytes that requests hold: bodies while they come and are worked on. They are taken from a budget before they are kept in memory.
//! Knows bytes; neither what is in a body nor what it is for.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use axum::{
    Error,
    body::{Body, HttpBody},
    extract::Request,
};
use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::http::error::ApiError;

/// What a small body holds. Large ones leave a quarter of the budget to these, so that whoever sends large ones keeps no search from being
/// answered.
const SMALL: u64 = 1 << 20;
/// Bytes held for each byte of a body: it is put together from the pieces that came.
const COPIES: u64 = 2;
/// The most bytes of a form before a field: its boundary and its head.
const HEAD: u64 = 64 << 10;

/// So many bytes for all requests together.
#[derive(Debug)]
pub struct Budget {
    total: u64,
    held: AtomicU64,
}

/// The bytes that one request holds, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Budget {
    /// Of so many bytes.
    pub fn new(total: u64) -> Arc<Self> {
        let held = AtomicU64::new(0);
        Arc::new(Budget { total, held })
    }

    /// How many bytes it has in all, held or not.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// How many bytes are held.
    pub(crate) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }
}

impl Held {
    /// None of a budget yet.
    pub fn none(budget: &Arc<Budget>) -> Self {
        Held {
            budget: budget.clone(),
            bytes: 0,
        }
    }

    /// Takes so many more bytes, if the budget has them: whether it had.
    pub fn take(&mut self, bytes: u64) -> bool {
        let after = self.bytes.saturating_add(bytes);
        let Budget { total, held } = &*self.budget;
        let most = match after <= SMALL {
            true => *total,
            false => total / 4 * 3,
        };
        let more = |held: u64| held.checked_add(bytes).filter(|&held| held <= most);
        let had = held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        if had.is_ok() {
            self.bytes = after;
        }
        had.is_ok()
    }

    /// Takes so many more bytes.
    ///
    /// # Errors
    /// [`ApiError::MemoryFull`] if the budget has them not.
    pub fn need(&mut self, bytes: u64) -> Result<(), ApiError> {
        match self.take(bytes) {
            true => Ok(()),
            false => Err(ApiError::MemoryFull(self.budget.total())),
        }
    }

    /// Gives all of them back.
    pub fn give_back(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.budget.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// What is known of a body that is read through a [`Metered`]: how much it holds, and why it was cut off.
#[derive(Clone, Debug)]
pub(crate) struct Meter(Arc<Metering>);

#[derive(Debug)]
struct Metering {
    held: Mutex<Held>,
    /// How many bytes all requests may hold.
    total: u64,
    /// Whether the budget was spent.
    spent: AtomicBool,
    /// How many more bytes may come, of what is not a field's content.
    head: AtomicU64,
    /// Whether a head was too long.
    long: AtomicBool,
}

impl Meter {
    /// Has the body of a request pass through it. Of what is `kept` in memory each byte is taken from the budget.
    pub fn of(budget: &Arc<Budget>, request: Request, kept: bool) -> (Self, Request) {
        let meter = Meter(Arc::new(Metering {
            held: Mutex::new(Held::none(budget)),
            total: budget.total(),
            spent: AtomicBool::new(false),
            head: AtomicU64::new(u64::MAX),
            long: AtomicBool::new(false),
        }));
        let metered = |body| {
            Body::new(Metered {
                body,
                kept,
                meter: meter.clone(),
            })
        };
        let request = request.map(metered);
        (meter, request)
    }

    /// From now on the head of a field is awaited, until its [content](Self::content) is.
    pub fn head(&self) {
        self.0.head.store(HEAD, Ordering::Relaxed);
    }

    /// From now on the content of a field is awaited, which is of any length.
    pub fn content(&self) {
        self.0.head.store(u64::MAX, Ordering::Relaxed);
    }

    /// Refuses a body that was cut off.
    pub fn whole(&self) -> Result<(), ApiError> {
        if self.0.spent.load(Ordering::Relaxed) {
            return Err(ApiError::MemoryFull(self.0.total));
        }
        if self.0.long.load(Ordering::Relaxed) {
            let detail = format!("more than {HEAD} bytes come before the content of a field");
            return Err(ApiError::Invalid("invalid_form", detail));
        }
        Ok(())
    }

    /// Notes that more of the body has come.
    fn note(&self, bytes: u64, kept: bool) -> Result<(), &'static str> {
        let head = &self.0.head;
        let left = head.load(Ordering::Relaxed);
        // The piece that has the head's end may have much of the content too.
        if left == 0 {
            self.0.long.store(true, Ordering::Relaxed);
            return Err("the head of a field has no end");
        }
        if left < u64::MAX {
            head.store(left.saturating_sub(bytes), Ordering::Relaxed);
        }
        let mut held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        if kept && !held.take(bytes * COPIES) {
            self.0.spent.store(true, Ordering::Relaxed);
            return Err("requests hold as much memory as they may");
        }
        Ok(())
    }
}

/// A body that ends with an error if it is cut off.
struct Metered {
    body: Body,
    kept: bool,
    meter: Meter,
}

impl HttpBody for Metered {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
            && let Err(why) = self.meter.note(data.len() as u64, self.kept)
        {
            return Poll::Ready(Some(Err(Error::new(why))));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_bodies_leave_room_for_small_ones_and_all_is_given_back() {
        let budget = Budget::new(8 << 20);
        let mut large = Held::none(&budget);
        assert!(large.take(6 << 20) && !large.take(1));
        let mut small: Vec<Held> = (0..2).map(|_| Held::none(&budget)).collect();
        assert!(small.iter_mut().all(|small| small.take(SMALL)));
        assert!(!small[0].take(1), "it is small no more");
        let mut late = Held::none(&budget);
        assert!(!late.take(1));
        assert_eq!(budget.held(), budget.total());
        drop(large);
        assert!(late.take(1) && small[0].take(1));
        drop((late, small));
        assert_eq!(budget.held(), 0);
    }
}
