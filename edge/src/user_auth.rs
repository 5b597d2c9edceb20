//! Who the user of a request is.
//!
//! What a client says of itself is only believed where something in front of Moa has authenticated it. Otherwise the gateway must prove
//! that it was the gateway, or the user's token must.

mod gateway;
mod jwt;
mod signature_verifier;

pub use gateway::{GatewaySecrets, InvalidSecretError, SIGNATURE_LIFETIME_SECONDS, signed_text};
pub use jwt::{InvalidKeysError, JwtRules, JwtVerifier, MAX_KEYS, MAX_KEYS_BYTES};

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use domain::UserId;
use std::sync::Arc;

use crate::{AuthFault, Problem, header};

/// How it is known whose a request is.
#[derive(Clone, Debug, Default)]
pub enum UserAuth {
    /// `X-USER-ID` is believed: a gateway, which nobody can go round, has authenticated the user and set it.
    #[default]
    Header,
    /// `X-USER-ID` is believed of whoever knows a secret: a gateway.
    Gateway(Arc<GatewaySecrets>),
    /// A claim of the bearer token, which an identity provider has signed.
    Jwt(Arc<JwtVerifier>),
}

impl UserAuth {
    /// The user that the request proves to be of.
    pub(crate) fn user(&self, parts: &Parts) -> Result<UserId, Problem> {
        match self {
            Self::Header => named_user(&parts.headers),
            Self::Gateway(secrets) => {
                let user = named_user(&parts.headers)?;
                secrets.verify(parts, &user).map(|()| user)
            }
            Self::Jwt(verifier) => verifier.user(&parts.headers),
        }
    }
}

impl AuthFault {
    /// Counts it, and refuses the request with it.
    fn refuse(self) -> Problem {
        let why = match self {
            Self::NotTheGateway => "not the gateway",
            Self::StaleSignature => "stale signature",
            Self::UsedSignature => "used signature",
            Self::NoToken => "no token",
            Self::ExpiredToken => "expired token",
            Self::BadToken => "bad token",
            Self::OtherUser => "other user",
        };
        metrics::counter!("moa_user_auth_refused_total", "why" => why).increment(1);
        Problem::Unauthenticated(self)
    }
}

/// The user named by exactly one well-formed `X-USER-ID`.
fn named_user(headers: &HeaderMap) -> Result<UserId, Problem> {
    let text = only(headers, &header::USER_ID).ok_or(Problem::MissingUserId)?;
    UserId::try_from(text.to_owned()).map_err(|_| Problem::MissingUserId)
}

/// The header's value, if there is exactly one: `get` would take the first of several, and two users in one request are nobody.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    values
        .next()
        .filter(|_| values.next().is_none())?
        .to_str()
        .ok()
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
        let values = given.iter().map(|v| {
            (
                header::USER_ID,
                HeaderValue::from_bytes(v.as_bytes()).unwrap(),
            )
        });
        let mut headers = HeaderMap::new();
        values.for_each(|(name, value)| {
            headers.append(name, value);
        });
        assert_eq!(named_user(&headers).is_ok(), good);
    }

    #[rstest]
    #[case(100, true)]
    #[case(101, false)]
    fn a_user_id_is_bounded(#[case] length: usize, #[case] good: bool) {
        let headers = HeaderMap::from_iter([(
            header::USER_ID,
            HeaderValue::try_from("u".repeat(length)).unwrap(),
        )]);
        assert_eq!(named_user(&headers).is_ok(), good);
    }
}
