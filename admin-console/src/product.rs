//! One product: now, at any event of its history, and what an operator may do with it.

use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::backend::{Refused, escaped};
use crate::console::{Console, Shared};
use crate::error::{Failure, is_part};
use crate::format::{bar, details, grouped, number, rows, state, text, time};
use crate::layout::{self, Parts, Section, csrf, page_with_notice};
use crate::products;
use crate::session::Visitor;
use crate::submission::Submission;

/// The longest reason that the call takes, in characters.
const MAX_REASON_CHARS: usize = 500;
/// What can be done with a product that cannot be undone: name, title, what happens then, and the field that it needs.
const ACTS: [(&str, &str, &str, Option<&str>); 2] = [
    (
        "close",
        "Close",
        "It takes no more invests, for ever. Those that it has stay.",
        None,
    ),
    (
        "cancel",
        "Cancel",
        "It takes no more invests, and every won that it has is given back. Its investors can read the reason.",
        Some("reason"),
    ),
];

async fn page_of(
    console: &Console,
    visitor: &Visitor,
    id: &str,
    past: Markup,
) -> Result<Markup, Refused> {
    let product = found(console, visitor, id).await?;
    let title = text(&product["title"]);
    let body = html! {
        h1 { (title) }
        p { a href="/console/products" { "All products" } " · " a href=(format!("/console/events?productId={}&order=desc", escaped(id))) { "Its events" } }
        div sse-swap="trouble" {}
        section aria-labelledby="now" {
            h2 #now { "Now" }
            div sse-swap="now" { (now(&product)) }
            @if visitor.is_operator() {
                p .acts {
                    @for (act, name, ..) in ACTS { a .button href=(format!("/console/products/{}/{act}", escaped(id))) { (name) "…" } }
                }
            }
        }
        section aria-labelledby="past" {
            h2 #past { "Any earlier state" }
            (past)
        }
    };
    let notice = console.sessions.take_notice(visitor);
    let live = format!("/console/live/products/{}", escaped(id));
    Ok(page_with_notice(
        Some(Section::Products),
        visitor,
        Some(&live),
        &title,
        notice,
        &body,
    ))
}

pub(crate) async fn page(
    State(console): Shared,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Markup, Failure> {
    // Folding a long history takes its time: the page is there at once.
    let past = format!("/console/products/{}/past", escaped(&id));
    let past = html! {
        div hx-get=(past) hx-trigger="load" { p .quiet { "Reading its events… " a href=(past) { "Show" } } }
    };
    page_of(&console, &visitor, &id, past)
        .await
        .map_err(Failure::of(&visitor))
}

async fn found(console: &Console, visitor: &Visitor, id: &str) -> Result<Value, Refused> {
    let data = console
        .backend
        .get(
            visitor,
            &format!("/admin/product?productId={}", escaped(id)),
        )
        .await?;
    let none = || Refused {
        status: axum::http::StatusCode::NOT_FOUND,
        message: format!("There is no product {id}, or it is not in the list yet."),
    };
    rows(&data["list"]).first().cloned().ok_or_else(none)
}

pub(crate) async fn parts(
    console: &Console,
    visitor: &Visitor,
    id: &str,
) -> Result<Parts, Refused> {
    Ok(vec![(
        "now".to_owned(),
        now(&found(console, visitor, id).await?),
    )])
}

fn now(product: &Value) -> Markup {
    html! {
        p { (state(&text(&product["state"]))) " " (products::taken(product)) }
        dl .facts {
            div { dt { "Id" } dd { (number(&product["productId"])) } }
            div { dt { "Users" } dd { (text(&product["investingCnt"])) } }
            div { dt { "Opens" } dd { (time(&product["startedAt"])) } }
            div { dt { "Ends" } dd { (time(&product["finishedAt"])) } }
            @if product["terms"].is_object() { div { dt { "Terms" } dd { (details(&product["terms"])) } } }
            @if !product["cancelReason"].is_null() { div { dt { "Cancelled because" } dd { (text(&product["cancelReason"])) } } }
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct At {
    sequence: Option<i64>,
}

/// The product after one of its events; for htmx only that, else the whole page.
pub(crate) async fn past(
    State(console): Shared,
    visitor: Visitor,
    Path(id): Path<String>,
    Query(At { sequence }): Query<At>,
    headers: HeaderMap,
) -> Result<Markup, Failure> {
    let asked = format!("/admin/audit/product/{}", escaped(&id));
    let latest = match sequence {
        // The slider needs to know how long the history is; within a page it knows.
        Some(_) if is_part(&headers) => None,
        _ => Some(
            console
                .backend
                .get(&visitor, &asked)
                .await
                .map_err(Failure::of(&visitor))?,
        ),
    };
    let state = match sequence {
        Some(sequence) => console
            .backend
            .get(&visitor, &format!("{asked}?sequence={sequence}"))
            .await
            .map_err(Failure::of(&visitor))?,
        None => latest.clone().unwrap_or_default(),
    };
    let Some(latest) = latest else {
        return Ok(as_it_stood(&state));
    };
    let with_slider = html! {
        (slider(&id, number(&state["sequence"]), number(&latest["sequence"])))
        div #state role="status" { (as_it_stood(&state)) }
    };
    if is_part(&headers) {
        return Ok(with_slider);
    }
    page_of(&console, &visitor, &id, with_slider)
        .await
        .map_err(Failure::of(&visitor))
}

fn slider(id: &str, at: i64, last: i64) -> Markup {
    let path = format!("/console/products/{}/past", escaped(id));
    html! {
        form .slider method="get" action=(path) {
            label for="sequence" { "After event number, of " (grouped(last)) }
            input #sequence type="range" name="sequence" min="1" max=(last) value=(at) hx-get=(path) hx-target="#state" hx-sync="this:replace"
                hx-trigger="input changed delay:100ms";
            output for="sequence" { (at) }
            noscript { button type="submit" { "Show" } }
        }
        p .quiet { "The arrow keys go event by event. Each look is an audit's read, and recorded as one." }
    }
}

fn as_it_stood(past: &Value) -> Markup {
    let (taken, total) = (
        number(&past["currentInvestingAmount"]),
        number(&past["totalInvestingAmount"]),
    );
    let facts = [
        ("Settled, in won", "settledAmount"),
        ("Reserved, in won", "reservedAmount"),
        ("Users", "investingCnt"),
        ("Invests without a fate", "openCount"),
        ("Invests settled", "settledCount"),
        ("Invests failed", "failedCount"),
        ("Invests withdrawn", "withdrawnCount"),
        ("Invests refunded", "refundedCount"),
        ("Event", "sequence"),
    ];
    html! {
        p { (state(&text(&past["state"]))) " " (bar("Taken then", taken, total)) }
        dl .facts { @for (name, key) in facts { div { dt { (name) } dd { (text(&past[key])) } } }
            div { dt { "Recorded at" } dd { (time(&past["recordedAt"])) } } }
    }
}

/// Asks whether it is meant.
pub(crate) async fn confirm(
    State(console): Shared,
    visitor: Visitor,
    Path((id, act)): Path<(String, String)>,
) -> Result<Markup, Failure> {
    let Some((act, name, what, field)) = ACTS.into_iter().find(|(known, ..)| *known == act) else {
        return Err(Failure::Unknown(Box::new(visitor)));
    };
    let product = found(&console, &visitor, &id)
        .await
        .map_err(Failure::of(&visitor))?;
    let title = format!("{name} {}?", text(&product["title"]));
    let back = format!("/console/products/{}", escaped(&id));
    let body = html! {
        h1 { (title) }
        (now(&product))
        p { (what) " This cannot be undone, and is recorded as yours." }
        form .card method="post" action=(format!("{back}/{act}")) {
            (csrf(&visitor))
            @if let Some(field) = field {
                label for=(field) { "Reason, for the investors; without personal data" }
                input id=(field) name=(field) required maxlength=(MAX_REASON_CHARS);
            }
            p .acts { button .danger type="submit" { (name) } a .button href=(back) { "Back" } }
        }
    };
    Ok(layout::page(
        Some(Section::Products),
        &visitor,
        None,
        &title,
        &body,
    ))
}

pub(crate) async fn act(
    State(console): Shared,
    Path((id, act)): Path<(String, String)>,
    submission: Submission,
) -> Result<Response, Failure> {
    let Some((act, _, _, field)) = ACTS.into_iter().find(|(known, ..)| *known == act) else {
        return Err(Failure::Unknown(Box::new(submission.visitor)));
    };
    let body = field.map(|field| json!({ field: submission.field(field) }));
    let path = format!("/admin/product/{}/{act}", escaped(&id));
    let done = console
        .backend
        .post(&submission.visitor, &path, body.as_ref())
        .await;
    let past = if act == "close" {
        "closed"
    } else {
        "cancelled"
    };
    let done = done.map(|_| format!("Product {id} is {past}."));
    Ok(submission.answer(
        &console,
        done,
        &format!("/console/products/{}", escaped(&id)),
    ))
}
