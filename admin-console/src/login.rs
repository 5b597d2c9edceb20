//! Logging in, with the token that the admin listener takes, and logging out.

use axum::extract::{Query, Request, State};
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use edge::{ClientAddress, Problem};
use maud::{Markup, html};
use serde::Deserialize;

use crate::console::{Console, PATH, Shared};
use crate::error::Failure;
use crate::layout;
use crate::protect::is_same_origin;
use crate::session::{cookie_name, key_in};
use crate::submission::{Submission, fields};

#[derive(Deserialize)]
pub(crate) struct Next {
    #[serde(default)]
    next: String,
}

pub(crate) async fn page(Query(Next { next }): Query<Next>) -> Response {
    form(&next, None).into_response()
}

pub(crate) async fn log_in(State(console): Shared, request: Request) -> Result<Response, Failure> {
    if !is_same_origin(request.headers()) {
        return Err(Failure::Forged);
    }
    let address = request
        .extensions()
        .get()
        .map(|ClientAddress(address)| *address);
    let (before, cookie_name) = (key_in(&request), cookie_name(request.headers()));
    let fields = fields(request).await?;
    let field = |name: &str| fields.get(name).map_or("", |value| value.trim());
    let (token, next) = (field("token"), inside(field("next")));
    match console.process.actor(token, address) {
        Ok(actor) => {
            // Another cookie for each login: one that was planted before it is worth nothing.
            before.iter().for_each(|key| console.sessions.end(key));
            let id = console.sessions.begin(token);
            tracing::info!(
                actor = actor.name(),
                role = actor.role().as_str(),
                "logged in to the console"
            );
            Ok((
                [(SET_COOKIE, cookie(&console, &cookie_name, &id))],
                Redirect::to(next),
            )
                .into_response())
        }
        Err(problem) => {
            let (status, why) = said(&problem);
            Ok((status, form(next, Some(why))).into_response())
        }
    }
}

pub(crate) async fn log_out(
    State(console): Shared,
    headers: HeaderMap,
    submission: Submission,
) -> Response {
    console.sessions.end(&submission.visitor.key);
    (
        [(
            SET_COOKIE,
            format!(
                "{}; Max-Age=0",
                cookie(&console, &cookie_name(&headers), "")
            ),
        )],
        Redirect::to("/console/login"),
    )
        .into_response()
}

/// No script reads it, no form of another site sends it, and nothing but the console is sent it. Links from elsewhere, as from an
/// alarm, lead where they say.
fn cookie(console: &Console, name: &str, value: &str) -> String {
    let secure = if console.is_encrypted { "; Secure" } else { "" };
    format!("{name}={value}; Path={PATH}; HttpOnly; SameSite=Lax{secure}")
}

/// Where to go after logging in: a page of the console, whatever was asked for.
fn inside(next: &str) -> &str {
    let is_ours = next == PATH
        || next
            .strip_prefix(PATH)
            .is_some_and(|rest| rest.starts_with(['/', '?']));
    let is_plain = next
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_ours && is_plain && !next.starts_with("/console/log") {
        next
    } else {
        PATH
    }
}

fn said(problem: &Problem) -> (StatusCode, &'static str) {
    match problem {
        Problem::OverRate(_) => (
            StatusCode::TOO_MANY_REQUESTS,
            "Too many wrong tokens came from this address. Wait a minute, then try again.",
        ),
        _ => (
            StatusCode::UNAUTHORIZED,
            "This is no token of an operator or an auditor.",
        ),
    }
}

fn form(next: &str, wrong: Option<&str>) -> Markup {
    let body = html! {
        h1 { "Moa" }
        form .card method="post" action="/console/login" {
            @if let Some(wrong) = wrong { p .failed role="alert" { (wrong) } }
            input type="hidden" name="next" value=(next);
            label for="token" { "Token of an operator or an auditor" }
            input #token type="password" name="token" required autocomplete="current-password" autofocus spellcheck="false";
            p .quiet { "A Moa that made its own token prints it at its start, and keeps it in " code { "operator-token" } " in its data folder." }
            button type="submit" { "Log in" }
        }
    };
    layout::bare("Log in", &body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("/console", "/console")]
    #[case("/console/events?userId=a", "/console/events?userId=a")]
    #[case("", "/console")]
    #[case("https://evil.example", "/console")]
    #[case("//evil.example", "/console")]
    #[case("/console.evil.example", "/console")]
    #[case("/console\\@evil.example", "/console")]
    #[case("/console/\r\nSet-Cookie: a", "/console")]
    #[case("/console/logout", "/console")]
    #[case("/consolex", "/console")]
    fn after_logging_in_one_is_in_the_console(#[case] next: &str, #[case] to: &str) {
        assert_eq!(inside(next), to);
    }
}
