//! The bytes that answers hold until they are sent: taken from a budget of their own, so that callers who read slowly hold no more than that.
//! Knows bodies and byte counts, not routes or content.

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

use crate::http::{body::budget::Held, state::AppState};

/// From so many bytes on an answer is counted. What a write answers is shorter, so that no write is done and refused.
const COUNTED: u64 = 256 << 10;

/// Counts a long answer until it is sent, or refuses the request.
pub(crate) async fn hold(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let bytes = response.body().size_hint().exact().unwrap_or_default();
    if bytes < COUNTED {
        return response;
    }
    match state.hold_answer(bytes) {
        Ok(held) => holding(response, held),
        Err(error) => error.into_response(),
    }
}

/// An answer that has these bytes until it is sent.
pub(crate) fn holding(response: Response, held: Held) -> Response {
    let held = Arc::new(held);
    response.map(|body| Body::new(Holding { body, held }))
}

struct Holding {
    body: Body,
    held: Arc<Held>,
}

/// A piece of it: hyper keeps pieces that are not sent yet when the body is long done.
struct Piece {
    bytes: Bytes,
    _held: Arc<Held>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl HttpBody for Holding {
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
                _held: self.held.clone(),
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
