//! All products, with bars that fill, and the form that opens one.

use axum::extract::{Query, State};
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::backend::Refused;
use crate::console::{Console, Shared};
use crate::error::Failure;
use crate::format::{bar, grouped, number, rows, state, text, time};
use crate::layout::{Parts, Section, csrf, page_with_notice, table};
use crate::session::Visitor;
use crate::submission::Submission;

/// Rows of a page.
const PAGE_SIZE: i64 = 20;
/// The fields of the form: name, label, type, whether it must be filled in, and a hint.
const FIELDS: [(&str, &str, &str, bool, &str); 9] = [
    ("title", "Title", "text", true, ""),
    ("totalInvestingAmount", "Total, in won", "number", true, ""),
    (
        "startedAt",
        "Opens at",
        "datetime-local",
        true,
        "In the service's time zone",
    ),
    ("finishedAt", "Ends at", "datetime-local", true, ""),
    (
        "minInvestAmount",
        "Least of an invest, in won",
        "number",
        false,
        "None when empty",
    ),
    (
        "investAmountUnit",
        "Unit of an invest, in won",
        "number",
        false,
        "1 when empty",
    ),
    (
        "maxAmountPerUser",
        "Most of a user, in won",
        "number",
        false,
        "No limit when empty",
    ),
    (
        "targetAmount",
        "Target, in won",
        "number",
        false,
        "All is given back when it is missed",
    ),
    (
        "withdrawableUntil",
        "Withdrawable until",
        "datetime-local",
        false,
        "Never when empty",
    ),
];

/// Which page of the list.
#[derive(Clone, Copy, Default, Deserialize)]
pub(crate) struct Page {
    #[serde(default)]
    page: u32,
}

impl Page {
    pub(crate) fn number(self) -> i64 {
        self.page.into()
    }
}

pub(crate) async fn page(
    State(console): Shared,
    visitor: Visitor,
    Query(Page { page: at }): Query<Page>,
) -> Result<Markup, Failure> {
    let data = list(&console, &visitor, Page { page: at })
        .await
        .map_err(Failure::of(&visitor))?;
    let total = number(&data["totalCount"]);
    let has_next = (i64::from(at) + 1) * PAGE_SIZE < total;
    let body = html! {
        h1 { "Products" }
        div sse-swap="trouble" {}
        div sse-swap="list" role="status" { (news(&data)) }
        (table("Products", &["Id", "Title", "Taken", "Users", "State", "Opens", "Ends"], &html! {
            @for product in rows(&data["list"]) { (row(product)) }
        }))
        nav .pages aria-label="Pages" {
            @if at > 0 { a href=(format!("/console/products?page={}", at - 1)) rel="prev" { "Newer" } }
            @if has_next { a href=(format!("/console/products?page={}", at + 1)) rel="next" { "Older" } }
        }
        @if visitor.is_operator() { (opening(&visitor)) }
    };
    let (live, notice) = (
        format!("/console/live/products?page={at}"),
        console.sessions.take_notice(&visitor),
    );
    Ok(page_with_notice(
        Some(Section::Products),
        &visitor,
        Some(&live),
        "Products",
        notice,
        &body,
    ))
}

async fn list(console: &Console, visitor: &Visitor, Page { page }: Page) -> Result<Value, Refused> {
    console
        .backend
        .get(
            visitor,
            &format!("/admin/product?page={page}&size={PAGE_SIZE}"),
        )
        .await
}

pub(crate) async fn parts(
    console: &Console,
    visitor: &Visitor,
    page: Page,
) -> Result<Parts, Refused> {
    let data = list(console, visitor, page).await?;
    let cells = rows(&data["list"]).iter().flat_map(|product| {
        let id = number(&product["productId"]);
        [
            (format!("taken-{id}"), taken(product)),
            (
                format!("users-{id}"),
                html! { (text(&product["investingCnt"])) },
            ),
            (format!("state-{id}"), state(&text(&product["state"]))),
        ]
    });
    Ok(cells.chain([("list".to_owned(), news(&data))]).collect())
}

/// How many there are, so that a page that was loaded before the newest says so.
fn news(data: &Value) -> Markup {
    html! { p .quiet { (grouped(number(&data["totalCount"]))) " in all, the newest first." } }
}

fn row(product: &Value) -> Markup {
    let id = number(&product["productId"]);
    html! {
        tr {
            td { (id) }
            td { a href=(format!("/console/products/{id}")) { (text(&product["title"])) } }
            td .taken sse-swap=(format!("taken-{id}")) { (taken(product)) }
            td .number sse-swap=(format!("users-{id}")) { (text(&product["investingCnt"])) }
            td sse-swap=(format!("state-{id}")) { (state(&text(&product["state"]))) }
            td .time { (time(&product["startedAt"])) }
            td .time { (time(&product["finishedAt"])) }
        }
    }
}

/// How much of it is taken.
pub(crate) fn taken(product: &Value) -> Markup {
    let name = format!("Taken of {}", text(&product["title"]));
    bar(
        &name,
        number(&product["currentInvestingAmount"]),
        number(&product["totalInvestingAmount"]),
    )
}

fn opening(visitor: &Visitor) -> Markup {
    html! {
        details .card {
            summary { "Open a product" }
            form .fields method="post" action="/console/products" {
                (csrf(visitor))
                @for (name, label, kind, is_required, hint) in FIELDS {
                    div {
                        label for=(name) { (label) }
                        input id=(name) name=(name) type=(kind) required[is_required] step=[(kind == "datetime-local").then_some("1")]
                            min=[(kind == "number").then_some("1")] aria-describedby=[(!hint.is_empty()).then(|| format!("{name}-hint"))];
                        @if !hint.is_empty() { span .quiet id=(format!("{name}-hint")) { (hint) } }
                    }
                }
                button type="submit" { "Open" }
            }
        }
    }
}

pub(crate) async fn open(State(console): Shared, submission: Submission) -> Response {
    let body = offer(&submission);
    let done = console
        .backend
        .post(&submission.visitor, "/admin/product", Some(&body))
        .await;
    let to = match &done {
        Ok(data) => format!("/console/products/{}", number(&data["productId"])),
        Err(_) => "/console/products".into(),
    };
    let done = done.map(|data| format!("Product {} is opened.", number(&data["productId"])));
    submission.answer(&console, done, &to)
}

/// The body of the call: what was filled in. What is no number is sent as it was typed, and the call says what is wrong with it.
fn offer(submission: &Submission) -> Value {
    let mut body = Map::new();
    for (name, _, kind, ..) in FIELDS {
        let typed = submission.field(name);
        if typed.is_empty() {
            continue;
        }
        let value = match kind {
            "number" => typed
                .parse::<i64>()
                .map_or_else(|_| json!(typed), |number| json!(number)),
            "datetime-local" => json!(with_seconds(typed)),
            _ => json!(typed),
        };
        body.insert(name.to_owned(), value);
    }
    body.into()
}

/// Browsers leave seconds away that are 0.
fn with_seconds(typed: &str) -> String {
    let has_none = typed
        .split_once('T')
        .is_some_and(|(_, time)| time.matches(':').count() == 1);
    if has_none {
        format!("{typed}:00")
    } else {
        typed.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("2026-11-20T09:00", "2026-11-20T09:00:00")]
    #[case("2026-11-20T09:00:30", "2026-11-20T09:00:30")]
    #[case("tomorrow", "tomorrow")]
    fn a_time_has_seconds(#[case] typed: &str, #[case] sent: &str) {
        assert_eq!(with_seconds(typed), sent);
    }
}
