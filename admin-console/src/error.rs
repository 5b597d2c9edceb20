//! Pages that say why there is no other.

use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use maud::html;

use crate::backend::{Refused, with_query};
use crate::layout;
use crate::session::Visitor;

const HX_REDIRECT: HeaderName = HeaderName::from_static("hx-redirect");

/// Why a page cannot be shown.
pub(crate) enum Failure {
    /// The visitor has to log in first, and wanted this, a page or a part of one.
    NotLoggedIn { wanted: String, is_part: bool },
    /// The form did not come from a page of this session.
    Forged,
    /// A form that cannot be read, in words.
    Malformed(String),
    /// A call was answered so.
    Refused(Refused, Option<Box<Visitor>>),
    /// There is no such page.
    Unknown(Box<Visitor>),
    /// Too many pages are kept up to date.
    TooManyLivePages,
}

impl Failure {
    /// For `map_err`: a refusal, shown in the frame of the visitor's pages.
    pub(crate) fn of(visitor: &Visitor) -> impl FnOnce(Refused) -> Self + use<> {
        let visitor = Box::new(visitor.clone());
        |refused| Self::Refused(refused, Some(visitor))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            // A part of a page would be replaced by the page where one logs in.
            Self::NotLoggedIn { is_part: true, .. } => {
                (StatusCode::UNAUTHORIZED, [(HX_REDIRECT, "/console/login")]).into_response()
            }
            Self::NotLoggedIn { wanted, .. } => {
                Redirect::to(&with_query("/console/login", [("next", wanted.as_str())]))
                    .into_response()
            }
            Self::Forged => plain(
                StatusCode::FORBIDDEN,
                "That form is not of this session",
                "Nothing was done. Go back, load the page again, and repeat what you did.",
            ),
            Self::Malformed(why) => {
                plain(StatusCode::BAD_REQUEST, "That form cannot be read", &why)
            }
            Self::Refused(refused, Some(visitor)) if refused.status != StatusCode::UNAUTHORIZED => {
                let title = title_of(refused.status);
                let request = visitor.origin.correlation_id();
                let body = html! {
                    h1 { (title) }
                    p { (refused.message) }
                    p .quiet { "This was request " code { (request) } "." }
                };
                (
                    refused.status,
                    layout::page(None, &visitor, None, title, &body),
                )
                    .into_response()
            }
            Self::Refused(refused, _) => {
                plain(refused.status, title_of(refused.status), &refused.message)
            }
            Self::Unknown(visitor) => {
                let body = html! {
                    h1 { "There is no such page" }
                    p { a href="/console" { "Overview" } }
                };
                (
                    StatusCode::NOT_FOUND,
                    layout::page(None, &visitor, None, "No such page", &body),
                )
                    .into_response()
            }
            Self::TooManyLivePages => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        }
    }
}

fn title_of(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => "That cannot be asked for",
        401 => "Log in again",
        403 => "Only an operator may do that",
        404 => "Not found",
        409 => "That cannot be done now",
        503 => "Moa cannot answer now",
        _ => "Something went wrong",
    }
}

/// For whom nobody is known.
fn plain(status: StatusCode, title: &'static str, why: &str) -> Response {
    let body = html! { h1 { (title) } p { (why) } p { a href="/console" { "To the console" } } };
    (status, layout::bare(title, &body)).into_response()
}

pub(crate) async fn no_such_page(visitor: Visitor) -> Failure {
    Failure::Unknown(Box::new(visitor))
}

/// Whether htmx asks, for a part of a page.
pub(crate) fn is_part(headers: &HeaderMap) -> bool {
    let is_stream = headers
        .get(ACCEPT)
        .is_some_and(|accept| accept == "text/event-stream");
    is_stream || headers.contains_key("hx-request")
}
