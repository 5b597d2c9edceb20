//! Authenticates a visitor by the session's cookie, for every page but the one where one logs in.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use std::sync::Arc;

use crate::Console;
use crate::error::{Failure, is_part};
use crate::session::{Origin, Visitor};

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
