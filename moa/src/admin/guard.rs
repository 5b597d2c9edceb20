//! Authorisation of the admin listener: an operator may do everything, an auditor only read.

use crate::secret::Secret;
use crate::token::{NamedTokens, SharedTokens};
use axum::Router;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use edge::{Actor, ClientAddress, Exhausted, OverRate, Problem, Rate, Role, TokenBuckets};
use std::net::IpAddr;
use std::sync::Arc;

/// The tokens that let somebody in, as hashes.
#[derive(Clone)]
pub(crate) struct Tokens {
    settings: Arc<NamedTokens>,
    /// Those of the file, where there is one.
    file: Option<SharedTokens>,
    /// Wrong tokens of each address.
    guesses: Option<Arc<TokenBuckets>>,
}

impl Tokens {
    pub(crate) fn new(
        settings: NamedTokens,
        file: Option<SharedTokens>,
        max_guesses: Option<Rate>,
    ) -> Self {
        Self {
            settings: settings.into(),
            file,
            guesses: max_guesses.map(TokenBuckets::new).map(Arc::new),
        }
    }

    /// Who shows the token with this hash. The file's are compared whether or not it is one of the settings'.
    fn bearer(&self, hash: &[u8; 32]) -> Option<Actor> {
        let of_file = self
            .file
            .as_ref()
            .and_then(|file| file.get().bearer(hash).cloned());
        self.settings.bearer(hash).cloned().or(of_file)
    }

    fn admit(&self, request: &Request) -> Result<Actor, Problem> {
        let token = bearer(request.headers()).ok_or(Problem::Unauthorized)?;
        let address = request
            .extensions()
            .get()
            .map(|ClientAddress(address)| *address);
        let actor = self.actor(token, address)?;
        match actor.role() {
            Role::Auditor if !request.method().is_safe() => Err(forbidden(&actor, request.uri())),
            Role::Operator | Role::Auditor => Ok(actor),
        }
    }

    /// Who shows this token, from this address.
    pub(super) fn actor(&self, token: &str, address: Option<IpAddr>) -> Result<Actor, Problem> {
        // Before the token is looked at: whoever guesses must not learn which guess is right.
        self.may_guess(address)?;
        self.bearer(&Secret::digest(token)).ok_or_else(|| {
            self.guessed(address);
            Problem::Unauthorized
        })
    }

    fn may_guess(&self, address: Option<IpAddr>) -> Result<(), Problem> {
        let Some(guesses) = &self.guesses else {
            return Ok(());
        };
        guesses.peek(&address).map_err(|Exhausted { wait }| {
            metrics::counter!("moa_http_requests_limited_total", "limit" => "token guesses")
                .increment(1);
            Problem::OverRate(OverRate {
                whose: "address",
                rate: guesses.rate(),
                wait,
            })
        })
    }

    fn guessed(&self, address: Option<IpAddr>) {
        metrics::counter!("moa_admin_wrong_tokens_total").increment(1);
        // Those that are under way at the same time may be a few more.
        self.guesses
            .as_ref()
            .and_then(|guesses| guesses.take(&address).ok());
    }
}

/// The caller is an operator. For reads that an auditor may not do; all else the method tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operator;

impl<S: Send + Sync> FromRequestParts<S> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match parts.extensions.get::<Actor>() {
            Some(actor) if actor.role() == Role::Operator => Ok(Self),
            Some(actor) => Err(forbidden(actor, &parts.uri)),
            None => Err(Problem::Unauthorized),
        }
    }
}

fn forbidden(actor: &Actor, uri: &Uri) -> Problem {
    tracing::info!(
        actor = actor.name(),
        role = actor.role().as_str(),
        path = uri.path(),
        "an act was refused by its role"
    );
    Problem::Forbidden
}

/// `routes`, for those who show a token.
pub(super) fn guard(routes: Router, tokens: Tokens) -> Router {
    routes.route_layer(from_fn_with_state(tokens, admit))
}

async fn admit(
    State(tokens): State<Tokens>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let actor = tokens.admit(&request)?;
    request.extensions_mut().insert(actor);
    Ok(next.run(request).await)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let only = values
        .next()
        .filter(|_| values.next().is_none())?
        .to_str()
        .ok()?;
    let (scheme, token) = only.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim_start())
}
