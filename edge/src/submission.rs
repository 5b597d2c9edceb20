//! The invest that a handler has submitted for a decision.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use domain::InvestId;
use std::convert::Infallible;
use std::sync::{Arc, OnceLock};

/// The invest of a request, once it is on its way to be decided. When the request's time limit then cuts the handler off, the
/// answer can say which invest to ask the log for. As an extractor it never fails.
#[derive(Clone, Debug, Default)]
pub struct Submission(Arc<OnceLock<InvestId>>);

impl Submission {
    /// To be called before the invest is handed over: from then on it may happen. Only the first call counts.
    pub fn begin(&self, invest_id: InvestId) {
        self.0.get_or_init(|| invest_id);
    }

    pub(crate) fn invest_id(&self) -> Option<InvestId> {
        self.0.get().copied()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Submission {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}
