//! The seals of the log, and its verification.

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use crate::console::{Console, Shared};
use crate::error::{Failure, is_part};
use crate::format::{details, grouped, number, rows, state, text, time};
use crate::layout::{Section, page_with_notice, table};
use crate::session::Visitor;

/// Seals of a page.
const PAGE_SEALS: i64 = 50;

#[derive(Deserialize)]
pub(crate) struct From {
    /// The number of the seal before the first; without it the newest are shown.
    after: Option<i64>,
}

pub(crate) async fn page(
    State(console): Shared,
    visitor: Visitor,
    Query(From { after }): Query<From>,
) -> Result<Markup, Failure> {
    show(&console, &visitor, after, html! {}).await
}

async fn show(
    console: &Console,
    visitor: &Visitor,
    after: Option<i64>,
    report: Markup,
) -> Result<Markup, Failure> {
    let asked = match after {
        Some(after) => format!("/admin/audit/seal?after={after}&limit={PAGE_SEALS}"),
        None => format!("/admin/audit/seal?newest=true&limit={PAGE_SEALS}"),
    };
    let data = console
        .backend
        .get(visitor, &asked)
        .await
        .map_err(Failure::of(visitor))?;
    let mut list = rows(&data["list"]).to_vec();
    list.sort_by_key(|seal| -number(&seal["seal"]));
    let first = list.last().map_or(0, |seal| number(&seal["seal"]));
    let body = html! {
        h1 { "Seals" }
        form hx-get="/console/seals/verification" hx-target="#report" hx-indicator="#verifying" hx-disabled-elt="find button"
            method="get" action="/console/seals/verification" {
            button type="submit" { "Verify the whole log now" }
            span .quiet { " It reads every event, and may take minutes." }
            p #verifying .indicator role="status" { "Verifying…" }
        }
        div #report role="status" { (report) }
        h2 { @if after.is_none() { "The newest seals" } @else { "Seals" } }
        @if list.is_empty() {
            p .quiet { "Nothing is sealed: docs/audit.md says how to make a key, and who seals with it." }
        } @else {
            (table("Seals", &["Seal", "At (UTC)", "Partition", "Positions", "Key", "Root"], &html! { @for seal in &list { (row(seal)) } }))
        }
        nav .pages aria-label="Pages" {
            @if first > 1 { a href=(format!("/console/seals?after={}", (first - 1 - PAGE_SEALS).max(0))) rel="next" { "Older" } }
            @if after.is_some() { a href="/console/seals" { "Newest" } }
        }
        p .quiet { "These are the seals as the database has them. Compare them with the file outside of it." }
    };
    let notice = console.sessions.take_notice(visitor);
    Ok(page_with_notice(
        Some(Section::Seals),
        visitor,
        None,
        "Seals",
        notice,
        &body,
    ))
}

fn row(seal: &Value) -> Markup {
    html! {
        tr {
            td .number { (text(&seal["seal"])) }
            td .time { (time(&seal["at"])) }
            td .number { (text(&seal["partition"])) }
            td .number { (text(&seal["first"])) " to " (text(&seal["last"])) }
            td .number { code { (text(&seal["key"])) } }
            td { code .hash { (text(&seal["root"])) } }
        }
    }
}

/// Verifies, and shows what came of it: for htmx only that, else with the seals.
pub(crate) async fn verify(
    State(console): Shared,
    visitor: Visitor,
    headers: HeaderMap,
) -> Result<Markup, Failure> {
    let report = match console.backend.get(&visitor, "/admin/audit/verify").await {
        Ok(found) => report(&found),
        Err(refused) => html! { p .failed role="alert" { (refused.message) } },
    };
    if is_part(&headers) {
        Ok(report)
    } else {
        show(&console, &visitor, None, report).await
    }
}

fn report(found: &Value) -> Markup {
    let verdict = text(&found["verdict"]);
    html! {
        article .card {
            h2 { "The log is " (state(&verdict)) }
            p { (grouped(number(&found["events"]))) " events, " (grouped(number(&found["seals"]))) " seals, "
                (grouped(number(&found["acts"]["acts"]))) " acts of operators." }
            (table("Partitions", &["Partition", "Events", "Head", "Sealed up to", "Fault"], &html! {
                @for partition in rows(&found["partitions"]) {
                    tr {
                        td .number { (text(&partition["partition"])) }
                        td .number { (text(&partition["events"])) }
                        td .number { (text(&partition["head"])) }
                        td .number { (text(&partition["sealedUpto"])) }
                        td { (details(&partition["bad"])) }
                    }
                }
            }))
            @if !found["badSeal"].is_null() { p .failed { "A seal is bad: " (text(&found["badSeal"])) } }
            @if !found["acts"]["bad"].is_null() { p .failed { "The record of acts is bad: " (text(&found["acts"]["bad"])) } }
            @if !found["acts"]["badSeal"].is_null() { p .failed { "A seal of acts is bad: " (text(&found["acts"]["badSeal"])) } }
        }
    }
}
