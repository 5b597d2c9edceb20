//! The search for events.

use axum::extract::{Query, State};
use maud::{Markup, html};
use serde_json::Value;
use std::collections::BTreeMap;

use crate::backend::with_query;
use crate::console::Shared;
use crate::error::Failure;
use crate::format::{details, number, rows, text, time};
use crate::layout::{Section, page_with_notice, table};
use crate::session::Visitor;

/// Events of a page.
const PAGE_EVENTS: &str = "50";
/// What one may search by: name, label, type, and an example.
const FILTERS: [(&str, &str, &str, &str); 6] = [
    ("productId", "Product", "number", "3"),
    ("userId", "User", "text", "user4"),
    ("investId", "Invest", "text", "01991f5e-…"),
    ("correlationId", "Request", "text", "X-Correlation-Id"),
    ("from", "From", "datetime-local", ""),
    ("to", "Before", "datetime-local", ""),
];

pub(crate) async fn page(
    State(console): Shared,
    visitor: Visitor,
    Query(asked): Query<BTreeMap<String, String>>,
) -> Result<Markup, Failure> {
    let given = |name: &str| asked.get(name).map_or("", |value| value.trim());
    let filters = || {
        FILTERS
            .iter()
            .map(|(name, ..)| *name)
            .chain(["type", "order"])
            .map(|name| (name, given(name)))
    };
    let is_asked = asked.keys().any(|name| name != "cursor");
    let query = filters().chain([("cursor", given("cursor")), ("limit", PAGE_EVENTS)]);
    let path = with_query("/admin/audit/event", query);
    // A search is recorded: nobody has searched who only came to this page.
    let found = match is_asked {
        true => Some(console.backend.get(&visitor, &path).await),
        false => None,
    };
    let cursor = found
        .as_ref()
        .and_then(|found| found.as_ref().ok()?["nextCursor"].as_str());
    let next =
        cursor.map(|cursor| with_query("/console/events", filters().chain([("cursor", cursor)])));
    let body = html! {
        h1 { "Events" }
        form .card .fields method="get" action="/console/events" role="search" {
            @for (name, label, kind, example) in FILTERS {
                div {
                    label for=(name) { (label) }
                    input id=(name) name=(name) type=(kind) value=(given(name)) placeholder=(example) step=[(kind == "datetime-local").then_some("1")];
                }
            }
            div { label for="type" { "Type" } (choice("type", given("type"), [("", "any")].into_iter().chain(console.event_types.iter().map(|known| (*known, *known))))) }
            div { label for="order" { "Order" } (choice("order", given("order"), [("desc", "newest first"), ("asc", "oldest first")])) }
            button type="submit" { "Search" }
        }
        @match &found {
            None => p .quiet { "Search by any of these, or by none for all events. Each search is an audit's read, and recorded as one." },
            Some(Err(refused)) => p .failed role="alert" { (refused.message) },
            Some(Ok(found)) => (results(found, next.as_deref())),
        }
    };
    let notice = console.sessions.take_notice(&visitor);
    Ok(page_with_notice(
        Some(Section::Events),
        &visitor,
        None,
        "Events",
        notice,
        &body,
    ))
}

fn choice<'a>(
    name: &str,
    chosen: &str,
    options: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Markup {
    html! {
        select id=(name) name=(name) {
            @for (value, label) in options { option value=(value) selected[value == chosen] { (label) } }
        }
    }
}

fn results(found: &Value, next: Option<&str>) -> Markup {
    let list = rows(&found["list"]);
    html! {
        @if list.is_empty() {
            p role="status" { "There is no such event." }
        } @else {
            (table("Events", &["Recorded at", "Type", "Product", "Event", "User", "Amount", "Invest", "Place"], &html! {
                @for event in list { (row(event)) }
            }))
        }
        nav .pages aria-label="Pages" {
            @if let Some(next) = next { a href=(next) rel="next" { "More" } }
        }
    }
}

fn row(event: &Value) -> Markup {
    let kind = text(&event["type"]);
    let payload = &event["payload"][kind.as_str()];
    let (product, sequence) = (number(&event["productId"]), number(&event["sequence"]));
    let invest = text(&payload["investId"]);
    html! {
        tr {
            td .time { (time(&event["recordedAt"])) }
            td { details { summary { (kind) } (details(event)) } }
            td { a href=(format!("/console/products/{product}")) { (product) } }
            td .number { a href=(format!("/console/products/{product}/past?sequence={sequence}")) title="The product after this event" { (sequence) } }
            td { (text(&payload["userId"])) }
            td .number { (text(&payload["amount"])) }
            td { @if !invest.is_empty() { a href=(format!("/console/invests/{invest}")) { code { (invest) } } } }
            td .number { (number(&event["partition"])) ":" (number(&event["position"])) }
        }
    }
}
