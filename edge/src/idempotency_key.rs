//! The idempotency key: a client's own name for a request.

use axum::extract::OptionalFromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;

use crate::{FieldProblem, Problem, header};

const MAX_KEY_CHARS: usize = 255;

/// 1 to 255 visible ASCII characters. Extract it as `Option<IdempotencyKey>`: absent is `None`; repeated or malformed is
/// refused with [`Problem::Invalid`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// The key as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Problem> {
        key(&parts.headers)
    }
}

fn key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Problem> {
    let refuse = |wrong: &str| Problem::invalid(FieldProblem::new("Idempotency-Key", wrong));
    let mut values = headers.get_all(header::IDEMPOTENCY_KEY).iter();
    let Some(only) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(refuse("is repeated"));
    }
    let visible = only.as_bytes().iter().all(u8::is_ascii_graphic);
    match only.to_str() {
        Ok(text) if visible && (1..=MAX_KEY_CHARS).contains(&text.len()) => {
            Ok(Some(IdempotencyKey(text.to_owned())))
        }
        _ => Err(refuse("must be 1 to 255 visible ASCII characters")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use rstest::rstest;

    #[rstest]
    #[case(vec![], Some(None))]
    #[case(vec!["k".to_owned()], Some(Some("k")))]
    #[case(vec!["!~".to_owned()], Some(Some("!~")))]
    #[case(vec!["".to_owned()], None)]
    #[case(vec!["a b".to_owned()], None)]
    #[case(vec!["a\tb".to_owned()], None)]
    #[case(vec!["열쇠".to_owned()], None)]
    #[case(vec!["k".to_owned(), "k".to_owned()], None)]
    #[case(vec!["k".repeat(256)], None)]
    fn at_most_one_good_key(#[case] given: Vec<String>, #[case] read: Option<Option<&str>>) {
        let mut headers = HeaderMap::new();
        for value in &given {
            headers.append(
                header::IDEMPOTENCY_KEY,
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        let key = key(&headers).ok();
        assert_eq!(
            key.as_ref().map(|k| k.as_ref().map(IdempotencyKey::as_str)),
            read
        );
    }

    #[test]
    fn the_longest_key_is_taken() {
        let longest = HeaderValue::try_from("k".repeat(MAX_KEY_CHARS)).unwrap();
        let headers = HeaderMap::from_iter([(header::IDEMPOTENCY_KEY, longest)]);
        assert!(key(&headers).unwrap().is_some());
    }
}
