//! Authorisation of the admin listener: an operator may do everything, an auditor only read.

use crate::token::Secret;
use audit::access::Reader;
use axum::Router;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use edge::Problem;

/// The tokens of the two roles, as digests.
#[derive(Clone)]
pub(crate) struct Tokens {
    operator: [u8; 32],
    auditor: Option<[u8; 32]>,
}

impl Tokens {
    pub(crate) fn new(operator: &Secret, auditor: Option<&Secret>) -> Self {
        let digest = |secret: &Secret| Secret::digest(secret.reveal());
        Self { operator: digest(operator), auditor: auditor.map(digest) }
    }

    fn admit(&self, method: &Method, headers: &HeaderMap) -> Result<Reader, Problem> {
        let token = Secret::digest(bearer(headers).ok_or(Problem::Unauthorized)?);
        if token == self.operator {
            return Ok(Reader::Operator);
        }
        if Some(token) != self.auditor {
            return Err(Problem::Unauthorized);
        }
        if method.is_safe() { Ok(Reader::Auditor) } else { Err(Problem::Forbidden) }
    }
}

/// The caller is an operator. For reads that an auditor may not do; all else the method tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operator;

impl<S: Send + Sync> FromRequestParts<S> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match parts.extensions.get() {
            Some(Reader::Operator) => Ok(Self),
            Some(Reader::Auditor) | None => Err(Problem::Forbidden),
        }
    }
}

/// `routes`, for those who show a token.
pub(super) fn guard(routes: Router, tokens: Tokens) -> Router {
    routes.route_layer(from_fn_with_state(tokens, admit))
}

async fn admit(State(tokens): State<Tokens>, mut request: Request, next: Next) -> Result<Response, Problem> {
    let reader = tokens.admit(request.method(), request.headers())?;
    request.extensions_mut().insert(reader);
    Ok(next.run(request).await)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let only = values.next().filter(|_| values.next().is_none())?.to_str().ok()?;
    let (scheme, token) = only.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim_start())
}
