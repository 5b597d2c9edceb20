//! Answers that are the same for everybody who asks at the same time.

use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use edge::Problem;
use std::hash::Hash;
use std::sync::Arc;

use crate::consistency::{ReadModel, RequiredPosition};
use crate::count_read;
use crate::single_flight::SingleFlight;

/// An answer as it is sent.
pub(crate) struct Answer {
    /// `None` of a product that does not exist.
    pub(crate) body: Option<Bytes>,
    pub(crate) positions: Vec<i64>,
    /// Where it was read.
    pub(crate) from: &'static str,
}

/// What the readers of one read share.
#[derive(Clone)]
pub(crate) enum Shared {
    Answer(Arc<Answer>),
    Overloaded,
}

/// The answer for `key`, read by `read` at the required position: that of the next shared read, or if that has not reached the position
/// that `headers` require, one of the caller's own, after waiting for the position.
pub(crate) async fn respond<K, F>(
    flights: &SingleFlight<K, Shared>,
    key: K,
    model: &ReadModel,
    headers: &HeaderMap,
    view: &'static str,
    read: impl Fn(RequiredPosition) -> F,
) -> Result<Response, Problem>
where
    K: Clone + Eq + Hash + Send + 'static,
    F: Future<Output = Result<Answer, Problem>> + Send + 'static,
{
    let required = model.required(headers)?;
    let answer = match flights.get(key, shared(read(RequiredPosition::none()))).await {
        Some(Shared::Overloaded) => return Err(Problem::Overloaded),
        Some(Shared::Answer(answer)) if required.is_reached_by(&answer.positions) != Some(false) => answer,
        _ => Arc::new(read(required.clone()).await?),
    };
    count_read(view, answer.from);
    let body = answer.body.clone();
    let response = body.map_or_else(|| Problem::NotExistProduct.into_response(), edge::ok_with);
    Ok(model.consistency_headers(&required, &answer.positions).add_to(response))
}

async fn shared(read: impl Future<Output = Result<Answer, Problem>>) -> Option<Shared> {
    match read.await {
        Ok(answer) => Some(Shared::Answer(Arc::new(answer))),
        Err(Problem::Overloaded) => Some(Shared::Overloaded),
        Err(_) => None,
    }
}
