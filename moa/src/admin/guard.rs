//! Authorisation of the admin listener: an operator may do everything, an auditor only read.

use crate::token::Secret;
use audit::access::Reader;
use axum::Router;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use edge::{ClientAddress, Exhausted, OverRate, Problem, Rate, TokenBuckets};
use std::net::IpAddr;
use std::sync::Arc;

/// The tokens of the two roles, as digests.
#[derive(Clone)]
pub(crate) struct Tokens {
    operator: [u8; 32],
    auditor: Option<[u8; 32]>,
    /// Wrong tokens of each address.
    guesses: Option<Arc<TokenBuckets>>,
}

impl Tokens {
    pub(crate) fn new(operator: &Secret, auditor: Option<&Secret>, max_guesses: Option<Rate>) -> Self {
        let digest = |secret: &Secret| Secret::digest(secret.reveal());
        let guesses = max_guesses.map(TokenBuckets::new).map(Arc::new);
        Self { operator: digest(operator), auditor: auditor.map(digest), guesses }
    }

    fn admit(&self, request: &Request) -> Result<Reader, Problem> {
        let token = bearer(request.headers()).ok_or(Problem::Unauthorized)?;
        let address = request.extensions().get().map(|ClientAddress(address)| *address);
        // Before the token is looked at: whoever guesses must not learn which guess is right.
        self.may_guess(address)?;
        let token = Secret::digest(token);
        if token == self.operator {
            return Ok(Reader::Operator);
        }
        if Some(token) != self.auditor {
            self.guessed(address);
            return Err(Problem::Unauthorized);
        }
        if request.method().is_safe() { Ok(Reader::Auditor) } else { Err(Problem::Forbidden) }
    }

    fn may_guess(&self, address: Option<IpAddr>) -> Result<(), Problem> {
        let Some(guesses) = &self.guesses else { return Ok(()) };
        guesses.peek(&address).map_err(|Exhausted { wait }| {
            metrics::counter!("moa_http_requests_limited_total", "limit" => "token guesses").increment(1);
            Problem::OverRate(OverRate { whose: "address", rate: guesses.rate(), wait })
        })
    }

    fn guessed(&self, address: Option<IpAddr>) {
        metrics::counter!("moa_admin_wrong_tokens_total").increment(1);
        // Those that are under way at the same time may be a few more.
        self.guesses.as_ref().and_then(|guesses| guesses.take(&address).ok());
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
    let reader = tokens.admit(&request)?;
    request.extensions_mut().insert(reader);
    Ok(next.run(request).await)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let only = values.next().filter(|_| values.next().is_none())?.to_str().ok()?;
    let (scheme, token) = only.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim_start())
}
