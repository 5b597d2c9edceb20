//! Answers that are the same for everybody who asks at the same time.

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use edge::Problem;
use std::hash::{DefaultHasher, Hash, Hasher};
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
    from: &'static str,
    /// Names the body. Of its bytes and not of its positions: a window opens and ends without an event.
    entity_tag: String,
}

/// A cache may keep it, and asks each time whether it still is so.
const REVALIDATED: HeaderValue = HeaderValue::from_static("no-cache");

impl Answer {
    pub(crate) fn new(body: Option<Bytes>, positions: Vec<i64>, from: &'static str) -> Self {
        let mut hasher = DefaultHasher::new();
        body.hash(&mut hasher);
        // Weak: the same body may go out compressed.
        let entity_tag = format!("W/\"{:016x}\"", hasher.finish());
        Self {
            body,
            positions,
            from,
            entity_tag,
        }
    }

    /// The whole answer, or 304 when the caller has it.
    fn respond(&self, asked: &HeaderMap) -> Response {
        let Some(body) = self.body.clone() else {
            return Problem::NotExistProduct.into_response();
        };
        let is_known = asked
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .any(|tags| self.is_among(tags));
        let mut response = if is_known {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            edge::ok_with(body)
        };
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, REVALIDATED);
        headers.extend(HeaderValue::try_from(&self.entity_tag).map(|tag| (header::ETAG, tag)));
        response
    }

    /// RFC 9110, 13.1.2: weak comparison with each of a list.
    fn is_among(&self, tags: &HeaderValue) -> bool {
        let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        let own = opaque(&self.entity_tag);
        tags.to_str()
            .is_ok_and(|tags| tags.trim() == "*" || tags.split(',').any(|tag| opaque(tag) == own))
    }
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
    let answer = match flights
        .get(key, shared(read(RequiredPosition::none())))
        .await
    {
        Some(Shared::Overloaded) => return Err(Problem::Overloaded),
        Some(Shared::Answer(answer))
            if required.is_reached_by(&answer.positions) != Some(false) =>
        {
            answer
        }
        _ => Arc::new(read(required.clone()).await?),
    };
    count_read(view, answer.from);
    Ok(model
        .consistency_headers(&required, &answer.positions)
        .add_to(answer.respond(headers)))
}

async fn shared(read: impl Future<Output = Result<Answer, Problem>>) -> Option<Shared> {
    match read.await {
        Ok(answer) => Some(Shared::Answer(Arc::new(answer))),
        Err(Problem::Overloaded) => Some(Shared::Overloaded),
        Err(_) => None,
    }
}
