//! The user of a request, for handlers that ask for one.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use domain::UserId;
use std::sync::Arc;

use crate::{CallerPolicy, Problem};

/// The user of the request, as the listener's [`CallerPolicy`] knows it. Each takes one of the user's calls.
///
/// Refused with [`Problem::MissingUserId`], [`Problem::Unauthenticated`] or [`Problem::OverRate`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserIdHeader(pub UserId);

impl<S: Send + Sync> FromRequestParts<S> for UserIdHeader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Never a default that believes: without the middleware nobody is anybody.
        let policy = parts
            .extensions
            .get::<Arc<CallerPolicy>>()
            .ok_or_else(|| Problem::internal("no caller policy"))?;
        let user = policy.users.user(parts)?;
        policy.limits.admit_user(&user).map_err(Problem::OverRate)?;
        Ok(Self(user))
    }
}
