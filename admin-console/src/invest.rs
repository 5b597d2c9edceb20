//! One invest's story, cause by cause.

use axum::extract::{Path, State};
use maud::{Markup, html};
use serde_json::Value;

use crate::backend::{escaped, with_query};
use crate::console::Shared;
use crate::error::Failure;
use crate::format::{details, number, rows, state, text, time};
use crate::layout::{Section, page_with_notice};
use crate::session::Visitor;

/// Steps are indented so deep at most.
const MAX_DEPTH: i64 = 5;

pub(crate) async fn page(
    State(console): Shared,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Markup, Failure> {
    let path = format!("/admin/audit/invest/{}", escaped(&id));
    let invest = console
        .backend
        .get(&visitor, &path)
        .await
        .map_err(Failure::of(&visitor))?;
    let (product, user) = (number(&invest["productId"]), text(&invest["userId"]));
    let correlation = text(&invest["correlationId"]);
    let events = with_query("/console/events", [("investId", id.as_str())]);
    let body = html! {
        h1 { "Invest " code { (text(&invest["investId"])) } }
        p { (state(&text(&invest["state"]))) }
        dl .facts {
            div { dt { "Amount, in won" } dd { (text(&invest["amount"])) } }
            div { dt { "Product" } dd { a href=(format!("/console/products/{product}")) { (product) } } }
            div { dt { "User" } dd { a href=(with_query("/console/events", [("userId", user.as_str())])) { (user) } } }
            div { dt { "Request" } dd { a href=(with_query("/console/events", [("correlationId", correlation.as_str())])) { (correlation) } } }
        }
        p { a href=(events) { "Its events" } " · its proof: " code { "moa audit prove " (text(&invest["investId"])) } }
        h2 { "What happened" }
        ol .story { @for step in rows(&invest["steps"]) { (step_of(step)) } }
        @for note in rows(&invest["notes"]) { p .quiet { (text(note)) } }
    };
    let notice = console.sessions.take_notice(&visitor);
    Ok(page_with_notice(
        Some(Section::Events),
        &visitor,
        None,
        "Invest",
        notice,
        &body,
    ))
}

fn step_of(step: &Value) -> Markup {
    let depth = number(&step["depth"]).clamp(0, MAX_DEPTH);
    html! {
        li class=(format!("depth{depth}")) {
            span .what { (text(&step["what"])) } " "
            span .time { (time(&step["at"])) }
            @if !step["actor"].is_null() { " by " (text(&step["actor"])) }
            details { summary { "More" } (details(&step["details"])) }
        }
    }
}
