//! Parked deliveries (dead letters): they do not match the log, and changed nothing.

use axum::extract::{Path, Query, State};
use axum::response::Response;
use maud::{Markup, html};

use crate::backend::escaped;
use crate::console::Shared;
use crate::error::Failure;
use crate::format::{details, grouped, number, rows, text, time};
use crate::layout::{Section, csrf, page_with_notice, table};
use crate::products::Page;
use crate::session::Visitor;
use crate::submission::Submission;

/// Rows of a page.
const PAGE_SIZE: i64 = 50;
/// More is not shown of a body, in characters.
const MAX_BODY_CHARS: usize = 20_000;

pub(crate) async fn list(
    State(console): Shared,
    visitor: Visitor,
    Query(page): Query<Page>,
) -> Result<Markup, Failure> {
    let at = page.number();
    let path = format!("/admin/parked?page={at}&size={PAGE_SIZE}");
    let data = console
        .backend
        .get(&visitor, &path)
        .await
        .map_err(Failure::of(&visitor))?;
    let total = number(&data["totalCount"]);
    let body = html! {
        h1 { "Parked deliveries" }
        @if total == 0 {
            p .done { "Nothing is parked: every delivery has matched the log." }
        } @else {
            p { (grouped(total)) " deliveries did not match the log, the newest first. They changed nothing; what they should have brought was read from the log." }
            (table("Parked deliveries", &["Id", "Parked at (UTC)", "Queue", "Reason", "Bytes"], &html! {
                @for delivery in rows(&data["list"]) {
                    @let id = number(&delivery["id"]);
                    tr {
                        td .number { a href=(format!("/console/parked/{id}")) { (id) } }
                        td .time { (time(&delivery["parkedAt"])) }
                        td { (text(&delivery["queue"])) }
                        td { (text(&delivery["reason"])) }
                        td .number { (text(&delivery["bytes"])) }
                    }
                }
            }))
            nav .pages aria-label="Pages" {
                @if at > 0 { a href=(format!("/console/parked?page={}", at - 1)) rel="prev" { "Newer" } }
                @if (at + 1) * PAGE_SIZE < total { a href=(format!("/console/parked?page={}", at + 1)) rel="next" { "Older" } }
            }
            @if visitor.is_operator() {
                form method="post" action="/console/parked/drop" {
                    (csrf(&visitor))
                    button .danger type="submit" { "Drop all " (grouped(total)) }
                }
            }
        }
    };
    let notice = console.sessions.take_notice(&visitor);
    Ok(page_with_notice(
        Some(Section::Parked),
        &visitor,
        None,
        "Parked deliveries",
        notice,
        &body,
    ))
}

pub(crate) async fn page(
    State(console): Shared,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Markup, Failure> {
    let path = format!("/admin/parked/{}", escaped(&id));
    let mut delivery = console
        .backend
        .get(&visitor, &path)
        .await
        .map_err(Failure::of(&visitor))?;
    let sent: String = delivery["body"]
        .as_str()
        .unwrap_or_default()
        .chars()
        .take(MAX_BODY_CHARS)
        .collect();
    delivery.as_object_mut().map(|fields| fields.remove("body"));
    let body = html! {
        h1 { "Parked delivery " (id) }
        p { a href="/console/parked" { "All parked deliveries" } }
        (details(&delivery))
        h2 { "The beginning of its body" }
        pre .scroll tabindex="0" role="region" aria-label="Body" { (sent) }
        @if visitor.is_operator() {
            form method="post" action=(format!("/console/parked/{}/drop", escaped(&id))) {
                (csrf(&visitor))
                button .danger type="submit" { "Drop it" }
            }
        }
    };
    let notice = console.sessions.take_notice(&visitor);
    Ok(page_with_notice(
        Some(Section::Parked),
        &visitor,
        None,
        "Parked delivery",
        notice,
        &body,
    ))
}

pub(crate) async fn drop_one(
    State(console): Shared,
    Path(id): Path<String>,
    submission: Submission,
) -> Response {
    let path = format!("/admin/parked/{}/drop", escaped(&id));
    let done = console.backend.post(&submission.visitor, &path, None).await;
    submission.answer(
        &console,
        done.map(|_| format!("Delivery {id} is dropped.")),
        "/console/parked",
    )
}

pub(crate) async fn drop_all(State(console): Shared, submission: Submission) -> Response {
    let done = console
        .backend
        .post(&submission.visitor, "/admin/parked/drop", None)
        .await;
    let done = done.map(|data| format!("{} deliveries are dropped.", text(&data["dropped"])));
    submission.answer(&console, done, "/console/parked")
}
