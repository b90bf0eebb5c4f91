//! Reserves memory for answers until they are sent. They have a budget of their own, which limits
//! the memory that slow readers can hold.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    Error,
    body::{Body, HttpBody},
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::http::{body::budget::Reservation, state::AppState};

/// Answers of at least this many bytes reserve memory. The answers of writes are shorter, so no
/// write is applied and then refused.
const MIN_RESERVED_BYTES: u64 = 256 << 10;

/// Reserves memory for a long answer until it is sent. Refuses the request if there is none.
pub(crate) async fn reserve_memory(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    let response = next.run(request).await;
    let bytes = response.body().size_hint().exact().unwrap_or_default();
    if bytes < MIN_RESERVED_BYTES {
        return response;
    }
    match state.reserve_answer(bytes) {
        Ok(reservation) => with_reservation(response, reservation),
        Err(error) => error.into_response(),
    }
}

/// Keeps a reservation until the answer is sent.
pub(crate) fn with_reservation(response: Response, reservation: Reservation) -> Response {
    let reservation = Arc::new(reservation);
    response.map(|body| Body::new(ReservedBody { body, reservation }))
}

struct ReservedBody {
    body: Body,
    reservation: Arc<Reservation>,
}

/// A piece of a body. hyper holds unsent pieces after it has dropped the body.
struct Piece {
    bytes: Bytes,
    _reservation: Arc<Reservation>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl HttpBody for ReservedBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let piece = |bytes| {
            Bytes::from_owner(Piece {
                bytes,
                _reservation: self.reservation.clone(),
            })
        };
        polled.map_ok(|frame| frame.map_data(piece))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
