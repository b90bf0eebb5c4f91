//! The bytes that answers hold until they are sent: taken from a budget of their own, so that callers who read slowly hold no more than that.
//! Knows bodies and bytes; neither routes nor what is answered.

use std::{
    pin::Pin,
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

use super::{budget::Held, state::AppState};

/// From so many bytes on an answer is counted. What a write answers is shorter, so that no write is done and refused.
const COUNTED: u64 = 256 << 10;

/// Counts a long answer until it is sent, or refuses the request.
pub(super) async fn hold(State(state): State<AppState>, request: Request, next: Next) -> Response {
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
pub(super) fn holding(response: Response, held: Held) -> Response {
    response.map(|body| Body::new(Holding { body, _held: held }))
}

struct Holding {
    body: Body,
    _held: Held,
}

impl HttpBody for Holding {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
