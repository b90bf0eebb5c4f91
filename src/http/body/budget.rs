//! The memory budget of request bodies. Bytes are reserved before they are kept in memory, and
//! released when the request is done.

use std::{
    pin::Pin,
    sync::{
        Arc,
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
use parking_lot::Mutex;

use crate::http::error::ApiError;

/// Maximum number of bytes that a small body reserves. A quarter of the budget is for small bodies
/// alone, so that clients who send large ones cannot block searches.
const SMALL_BODY: u64 = 1 << 20;
/// Bytes reserved for each byte of a body, which is copied when its pieces are joined.
const BYTES_PER_BODY_BYTE: u64 = 2;
/// Maximum number of bytes of a form before a field: its boundary and its head.
const MAX_FIELD_HEAD: u64 = 64 << 10;

/// The bytes that all requests together may reserve.
#[derive(Debug)]
pub struct Budget {
    total: u64,
    reserved: AtomicU64,
}

/// The bytes that one request has reserved; dropping it releases them.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Budget {
    pub fn new(total: u64) -> Arc<Self> {
        let reserved = AtomicU64::new(0);
        Arc::new(Budget { total, reserved })
    }

    /// Returns the size of the budget.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Returns the bytes that are reserved now.
    pub(crate) fn reserved(&self) -> u64 {
        self.reserved.load(Ordering::Relaxed)
    }
}

impl Reservation {
    /// A reservation of zero bytes, to be extended.
    pub fn empty(budget: &Arc<Budget>) -> Self {
        Reservation {
            budget: budget.clone(),
            bytes: 0,
        }
    }

    /// Reserves more bytes. Returns false if the budget has too few.
    pub fn try_add(&mut self, bytes: u64) -> bool {
        let after = self.bytes.saturating_add(bytes);
        let Budget { total, reserved } = &*self.budget;
        let most = if after <= SMALL_BODY {
            *total
        } else {
            total / 4 * 3
        };
        let add = |sum: u64| sum.checked_add(bytes).filter(|&sum| sum <= most);
        let added = reserved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        if added.is_ok() {
            self.bytes = after;
        }
        added.is_ok()
    }

    /// Reserves more bytes.
    ///
    /// # Errors
    /// [`ApiError::MemoryFull`] if the budget has too few.
    pub fn add(&mut self, bytes: u64) -> Result<(), ApiError> {
        if self.try_add(bytes) {
            Ok(())
        } else {
            Err(ApiError::MemoryFull(self.budget.total()))
        }
    }

    /// Releases all bytes.
    pub fn release(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.budget.reserved.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.release();
    }
}

/// Observes a body that is read through a [`MeteredBody`]: the memory that it takes, and why it was
/// cut off.
#[derive(Clone, Debug)]
pub(crate) struct BodyMeter(Arc<MeterState>);

#[derive(Debug)]
struct MeterState {
    reservation: Mutex<Reservation>,
    /// The bytes that all requests may reserve.
    total: u64,
    /// The body was cut off because the budget was used up.
    out_of_budget: AtomicBool,
    /// The bytes left for a field's head; `u64::MAX` in a field's content.
    head_left: AtomicU64,
    /// The body was cut off because a field's head was too long.
    head_too_long: AtomicBool,
}

impl BodyMeter {
    /// Meters the body of a request. If it is `kept` in memory, its bytes are reserved.
    pub fn wrap(budget: &Arc<Budget>, request: Request, kept: bool) -> (Self, Request) {
        let meter = BodyMeter(Arc::new(MeterState {
            reservation: Mutex::new(Reservation::empty(budget)),
            total: budget.total(),
            out_of_budget: AtomicBool::new(false),
            head_left: AtomicU64::new(u64::MAX),
            head_too_long: AtomicBool::new(false),
        }));
        let metered = |body| {
            Body::new(MeteredBody {
                body,
                kept,
                meter: meter.clone(),
            })
        };
        let request = request.map(metered);
        (meter, request)
    }

    /// Limits the next bytes, which are the head of a field, until
    /// [`expect_field_content`](Self::expect_field_content).
    pub fn expect_field_head(&self) {
        self.0.head_left.store(MAX_FIELD_HEAD, Ordering::Relaxed);
    }

    /// Allows any number of bytes: the content of a field.
    pub fn expect_field_content(&self) {
        self.0.head_left.store(u64::MAX, Ordering::Relaxed);
    }

    /// Returns an error if the body was cut off.
    pub fn check_complete(&self) -> Result<(), ApiError> {
        if self.0.out_of_budget.load(Ordering::Relaxed) {
            return Err(ApiError::MemoryFull(self.0.total));
        }
        if self.0.head_too_long.load(Ordering::Relaxed) {
            let detail =
                format!("more than {MAX_FIELD_HEAD} bytes come before the content of a field");
            return Err(ApiError::Invalid("invalid_form", detail));
        }
        Ok(())
    }

    /// Counts bytes of the body that have arrived. An error cuts the body off.
    fn count(&self, bytes: u64, kept: bool) -> Result<(), &'static str> {
        let head = &self.0.head_left;
        let left = head.load(Ordering::Relaxed);
        // The piece with the end of the head may contain much of the content.
        if left == 0 {
            self.0.head_too_long.store(true, Ordering::Relaxed);
            return Err("the head of a field is too long");
        }
        if left < u64::MAX {
            head.store(left.saturating_sub(bytes), Ordering::Relaxed);
        }
        let mut reservation = self.0.reservation.lock();
        if kept && !reservation.try_add(bytes * BYTES_PER_BODY_BYTE) {
            self.0.out_of_budget.store(true, Ordering::Relaxed);
            return Err("the memory for requests is used up");
        }
        Ok(())
    }
}

/// A body that counts its bytes, and ends with an error if it is cut off.
struct MeteredBody {
    body: Body,
    kept: bool,
    meter: BodyMeter,
}

impl HttpBody for MeteredBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
            && let Err(why) = self.meter.count(data.len() as u64, self.kept)
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
    fn large_bodies_leave_memory_for_small_ones_and_all_is_released() {
        let budget = Budget::new(8 << 20);
        let mut large = Reservation::empty(&budget);
        assert!(large.try_add(6 << 20) && !large.try_add(1));
        let mut small: Vec<Reservation> = (0..2).map(|_| Reservation::empty(&budget)).collect();
        assert!(small.iter_mut().all(|small| small.try_add(SMALL_BODY)));
        assert!(!small[0].try_add(1), "it is no longer small");
        let mut late = Reservation::empty(&budget);
        assert!(!late.try_add(1));
        assert_eq!(budget.reserved(), budget.total());
        drop(large);
        assert!(late.try_add(1) && small[0].try_add(1));
        drop((late, small));
        assert_eq!(budget.reserved(), 0);
    }
}
