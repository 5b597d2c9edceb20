//! An answer's body while it is sent.

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Method, header};
use axum::response::{IntoResponse, Response};
use hyper::body::{Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};

use super::policy::{ConnectionPolicy, OWN_BYTES, SharedBytes};
use super::stage::{Progress, Stage};
use crate::{Problem, header as ours};

/// A body that tells its connection when hyper has all of it, and whose memory is part of the shared budget until the
/// kernel has it.
pub(super) struct Answer {
    body: Body,
    memory: Option<SharedBytes>,
    progress: Progress,
}

impl Answer {
    /// `response` for hyper. A read for whose answer no memory is left is answered as overloaded; anything else has
    /// happened already, and its answer must say so.
    pub(super) fn send(
        response: Response,
        method: &Method,
        policy: &ConnectionPolicy,
        progress: Progress,
    ) -> hyper::Response<Self> {
        let bytes = known_bytes(&response);
        let memory = if bytes > OWN_BYTES {
            policy.take(bytes)
        } else {
            None
        };
        let refused = bytes > OWN_BYTES && memory.is_none() && method.is_safe();
        let response = if refused {
            overloaded(&response)
        } else {
            response
        };
        if response.headers().contains_key(header::CONNECTION) {
            progress.will_close();
        }
        response.map(|body| Self {
            body,
            memory,
            progress,
        })
    }
}

/// How large the body is; 0 for one that is made while it is sent, which never has more than a piece in memory.
fn known_bytes(response: &Response) -> usize {
    response
        .body()
        .size_hint()
        .exact()
        .and_then(|bytes| usize::try_from(bytes).ok())
        .unwrap_or(0)
}

fn overloaded(instead_of: &Response) -> Response {
    let mut response = Problem::Overloaded.into_response();
    if let Some(id) = instead_of.headers().get(ours::CORRELATION_ID) {
        response
            .headers_mut()
            .insert(ours::CORRELATION_ID, id.clone());
    }
    response
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        Pin::new(&mut this.body).poll_frame(cx).map_ok(|frame| {
            frame.map_data(|data| match this.memory.take() {
                Some(memory) => Bytes::from_owner(Counted {
                    data,
                    _memory: memory,
                }),
                None => data,
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.progress.enter(Stage::Answered);
    }
}

/// Bytes that are part of the shared budget as long as anybody has them.
struct Counted {
    data: Bytes,
    _memory: SharedBytes,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}
