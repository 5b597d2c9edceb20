//! The one shape of every JSON answer.

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::Problem;

const SUCCESS: &str = "01";
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// `{"result", "code", "message", "data", "status"}`, in the seed's order. `status` repeats the HTTP status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Envelope<T> {
    /// Whether what was asked was done.
    pub result: bool,
    /// `"01"` for success, else the refusal's code.
    pub code: &'static str,
    /// Null for success, else a sentence for the reader.
    pub message: Option<String>,
    /// What was asked for; null in a refusal.
    pub data: Option<T>,
    /// The HTTP status.
    pub status: u16,
}

/// A list's `data`: how many there are in all, and those of this page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListData<T> {
    /// Of all pages together.
    pub total_count: i64,
    /// This page; may be empty.
    pub list: Vec<T>,
}

/// Success, 200, with `data`. Data that cannot be serialized as JSON is our fault: 500.
pub fn ok(data: impl Serialize) -> Response {
    success(StatusCode::OK, data)
}

/// The body of [`ok`], to be sent by [`ok_with`], as often as wanted.
///
/// # Errors
/// Data that cannot be serialized as JSON is our fault: 500.
pub fn ok_body(data: impl Serialize) -> Result<Bytes, Problem> {
    serde_json::to_vec(&successful(StatusCode::OK, data))
        .map(Bytes::from)
        .map_err(Problem::internal)
}

/// Success, 200, with a body of [`ok_body`].
pub fn ok_with(body: Bytes) -> Response {
    (
        StatusCode::OK,
        [(header::CONTENT_TYPE, JSON)],
        Body::from(body),
    )
        .into_response()
}

/// Success, 202: what was asked for goes on, and `data` says under which name. Else as [`ok`].
pub fn accepted(data: impl Serialize) -> Response {
    success(StatusCode::ACCEPTED, data)
}

fn success(status: StatusCode, data: impl Serialize) -> Response {
    successful(status, data).answer(status)
}

fn successful<T: Serialize>(status: StatusCode, data: T) -> Envelope<T> {
    Envelope {
        result: true,
        code: SUCCESS,
        message: None,
        data: Some(data),
        status: status.as_u16(),
    }
}

impl<T: Serialize> Envelope<T> {
    pub(crate) fn answer(&self, status: StatusCode) -> Response {
        match serde_json::to_vec(self) {
            Ok(json) => (status, [(header::CONTENT_TYPE, JSON)], Body::from(json)).into_response(),
            Err(error) => Problem::internal(error).into_response(),
        }
    }
}

/// A refusal: no data, and a message.
pub(crate) fn refusal(status: StatusCode, code: &'static str, message: String) -> Response {
    let status_number = status.as_u16();
    let envelope = Envelope::<()> {
        result: false,
        code,
        message: Some(message),
        data: None,
        status: status_number,
    };
    envelope.answer(status)
}
