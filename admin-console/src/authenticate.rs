//! Authenticates a visitor by the session's cookie, for every page but the one where one logs in.

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use std::sync::Arc;

use crate::console::Console;
use crate::error::{Failure, is_part};
use crate::session::{Origin, Visitor, cookie, key};

/// Sends everybody who is not logged in to the page where one logs in.
impl FromRequestParts<Arc<Console>> for Visitor {
    type Rejection = Failure;

    async fn from_request_parts(
        parts: &mut Parts,
        console: &Arc<Console>,
    ) -> Result<Self, Failure> {
        let origin = Origin::of(parts);
        let wanted = parts
            .uri
            .path_and_query()
            .map_or("", |wanted| wanted.as_str());
        Self::of(console, &parts.headers, origin).ok_or_else(|| Failure::NotLoggedIn {
            wanted: wanted.to_owned(),
            is_part: is_part(&parts.headers),
        })
    }
}

impl Visitor {
    /// The visitor whose cookie these headers bring, as far as the token still lets somebody in.
    fn of(console: &Console, headers: &HeaderMap, origin: Origin) -> Option<Self> {
        let key = key(cookie(headers)?);
        let (token, csrf) = console.sessions.touch(&key)?;
        match console.process.actor(&token, origin.address) {
            Ok(actor) => Some(Self {
                actor,
                token,
                csrf,
                origin,
                key,
            }),
            Err(_) => {
                console.sessions.end(&key);
                None
            }
        }
    }

    /// Whether the session goes on, and its token still lets somebody in.
    pub(crate) fn is_current(&self, console: &Console) -> bool {
        let known = console.sessions.touch(&self.key).is_some();
        known
            && console
                .process
                .actor(&self.token, self.origin.address)
                .is_ok()
    }
}
