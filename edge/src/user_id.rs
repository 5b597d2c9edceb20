//! The user of a request.

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use domain::UserId;
use std::sync::Arc;

use crate::{CallerPolicy, Problem, header};

/// The user named by exactly one well-formed `X-USER-ID`; anything else is refused with [`Problem::MissingUserId`]. Each takes one of the
/// user's calls, or is refused with [`Problem::OverRate`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserIdHeader(pub UserId);

impl<S: Send + Sync> FromRequestParts<S> for UserIdHeader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let policy =
            parts.extensions.get::<Arc<CallerPolicy>>().ok_or_else(|| Problem::internal("no caller policy"))?;
        let user = user_id(&parts.headers).ok_or(Problem::MissingUserId)?;
        policy.limits.admit_user(&user)?;
        Ok(Self(user))
    }
}

fn user_id(headers: &HeaderMap) -> Option<UserId> {
    // `get` would take the first of several, and two users in one request are nobody.
    let mut values = headers.get_all(header::USER_ID).iter();
    let only = values.next().filter(|_| values.next().is_none())?;
    UserId::try_from(only.to_str().ok()?.to_owned()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use rstest::rstest;

    #[rstest]
    #[case(&["user4"], true)]
    #[case(&["A.b_c-9"], true)]
    #[case(&[], false)]
    #[case(&[""], false)]
    #[case(&["user4", "user4"], false)]
    #[case(&["user4", "user5"], false)]
    #[case(&["user 4"], false)]
    #[case(&["user4,user5"], false)]
    #[case(&["user/4"], false)]
    #[case(&["사용자"], false)]
    fn exactly_one_good_header_names_a_user(#[case] given: &[&str], #[case] good: bool) {
        let values = given.iter().map(|v| (header::USER_ID, HeaderValue::from_bytes(v.as_bytes()).unwrap()));
        let mut headers = HeaderMap::new();
        values.for_each(|(name, value)| {
            headers.append(name, value);
        });
        assert_eq!(user_id(&headers).is_some(), good);
    }

    #[rstest]
    #[case(100, true)]
    #[case(101, false)]
    fn a_user_id_is_bounded(#[case] length: usize, #[case] good: bool) {
        let headers = HeaderMap::from_iter([(header::USER_ID, HeaderValue::try_from("u".repeat(length)).unwrap())]);
        assert_eq!(user_id(&headers).is_some(), good);
    }
}
