//! A problem as an answer.

use axum::response::{IntoResponse, Response};

use crate::problem::log_source;
use crate::problem_details::Refused;
use crate::{Envelope, Problem};

/// Marks an answer whose message is to end in the correlation id, which only the middleware knows.
#[derive(Clone)]
pub(crate) struct InternalFault;

impl Problem {
    /// The body of the answer.
    pub(crate) fn body(&self) -> Envelope<()> {
        let (status, code, message) = self.row();
        Envelope {
            result: false,
            code,
            message: Some(message.into_owned()),
            data: None,
            status: status.as_u16(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = self.body();
        let mut response = body.answer(self.row().0);
        response.headers_mut().extend(self.headers());
        let message = body.message.unwrap_or_default();
        response.extensions_mut().insert(Refused {
            code: body.code,
            message,
        });
        if let Self::Internal(source) = self {
            log_source(&*source);
            response.extensions_mut().insert(InternalFault);
        }
        response
    }
}
