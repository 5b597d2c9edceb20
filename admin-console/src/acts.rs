//! What operators did, and what came of it.

use axum::extract::{Query, State};
use maud::{Markup, html};
use std::collections::BTreeMap;

use crate::backend::with_query;
use crate::console::Shared;
use crate::error::Failure;
use crate::format::{details, rows, state, text, time};
use crate::layout::{Section, page_with_notice, table};
use crate::session::Visitor;

/// Acts of a page.
const PAGE_ACTS: &str = "50";

pub(crate) async fn page(
    State(console): Shared,
    visitor: Visitor,
    Query(asked): Query<BTreeMap<String, String>>,
) -> Result<Markup, Failure> {
    let given = |name: &str| asked.get(name).map_or("", |value| value.trim());
    let query = [
        ("actor", given("actor")),
        ("cursor", given("cursor")),
        ("limit", PAGE_ACTS),
    ];
    let found = console
        .backend
        .get(&visitor, &with_query("/admin/audit/act", query))
        .await;
    let found = found.map_err(Failure::of(&visitor))?;
    let body = html! {
        h1 { "Acts" }
        form .card .fields method="get" action="/console/acts" role="search" {
            div { label for="actor" { "By the token named" } input id="actor" name="actor" value=(given("actor")); }
            button type="submit" { "Show" }
        }
        (table("Acts of operators", &["Number", "At", "Actor", "Act", "Subject", "Outcome", "More"], &html! {
            @for act in rows(&found["list"]) {
                tr {
                    td .number { (text(&act["number"])) }
                    td .time { (time(&act["at"])) }
                    td { (text(&act["actor"])) }
                    td { (text(&act["act"])) }
                    td { (text(&act["subject"])) }
                    td { (state(&text(&act["outcome"]))) }
                    td { details { summary { "More" } (details(act)) } }
                }
            }
        }))
        nav .pages aria-label="Pages" {
            @if let Some(cursor) = found["nextCursor"].as_str() {
                a href=(with_query("/console/acts", [("actor", given("actor")), ("cursor", cursor)])) rel="next" { "Older" }
            }
        }
    };
    let notice = console.sessions.take_notice(&visitor);
    Ok(page_with_notice(
        Some(Section::Acts),
        &visitor,
        None,
        "Acts",
        notice,
        &body,
    ))
}
