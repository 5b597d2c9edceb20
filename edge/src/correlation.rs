//! The correlation id ties a request, its log lines and its events together.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use domain::resident_number;
use std::convert::Infallible;
use std::sync::Arc;
use traces::TraceParent;
use uuid::Uuid;

use crate::header;

const MAX_CORRELATION_ID_CHARS: usize = 64;

/// One request's correlation id, and a W3C `traceparent`: that of its own span where that is recorded, else its caller's, when that sent
/// a good one. Cheap to clone. As an extractor it never fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correlation {
    id: Arc<str>,
    traceparent: Option<Arc<str>>,
}

impl Correlation {
    /// 1 to 64 of `A-Z a-z 0-9 . _ -`: the caller's, or a fresh uuid v7.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The trace context, well-formed: of the request's own span where that is recorded, else the caller's.
    pub fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }

    /// What these headers say; a repeated or malformed one counts as absent, for it is only a name.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let id = only(headers, &header::CORRELATION_ID).filter(|id| sane(id));
        let traceparent =
            only(headers, &header::TRACEPARENT).filter(|text| TraceParent::parse(text).is_some());
        let id = id.map_or_else(|| Uuid::now_v7().to_string().into(), Arc::from);
        Self {
            id,
            traceparent: traceparent.map(Arc::from),
        }
    }

    /// The same with another trace context.
    pub(crate) fn with_traceparent(self, traceparent: &str) -> Self {
        Self {
            traceparent: Some(traceparent.into()),
            ..self
        }
    }

    pub(crate) fn header_value(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.id).ok()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Correlation {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let known = parts.extensions.get::<Self>().cloned();
        Ok(known.unwrap_or_else(|| Self::of(&parts.headers)))
    }
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    values
        .next()
        .filter(|_| values.next().is_none())?
        .to_str()
        .ok()
}

fn sane(id: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    // It is kept with every event that comes of the request.
    (1..=MAX_CORRELATION_ID_CHARS).contains(&id.len())
        && id.bytes().all(allowed)
        && !resident_number(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(&["a.B_9-"], true)]
    #[case(&[], false)]
    #[case(&[""], false)]
    #[case(&["a b"], false)]
    #[case(&["a", "a"], false)]
    #[case(&["900101-1234567"], false)]
    #[case(&["user.900101-1234567"], false)]
    #[case(&["901301-1234567"], true)]
    #[case(&["019a2b0e-6a52-7c3e-9d0b-0c6f0f2f7a11"], true)]
    #[case(&["0123456789012345678901234567890123456789012345678901234567890123"], true)]
    #[case(&["01234567890123456789012345678901234567890123456789012345678901234"], false)]
    fn a_sane_id_is_kept_and_any_other_replaced(#[case] given: &[&str], #[case] kept: bool) {
        let mut headers = HeaderMap::new();
        for id in given {
            headers.append(header::CORRELATION_ID, HeaderValue::from_str(id).unwrap());
        }
        let correlation = Correlation::of(&headers);
        assert_eq!(Some(correlation.id()) == given.first().copied(), kept);
        assert!(kept || correlation.id().parse::<Uuid>().is_ok());
    }

    #[rstest]
    #[case("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", true)]
    #[case("00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false)]
    fn only_a_good_traceparent_is_kept(#[case] given: &str, #[case] kept: bool) {
        let headers =
            HeaderMap::from_iter([(header::TRACEPARENT, HeaderValue::from_str(given).unwrap())]);
        assert_eq!(
            Correlation::of(&headers).traceparent(),
            kept.then_some(given)
        );
    }
}
