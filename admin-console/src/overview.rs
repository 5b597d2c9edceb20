//! The first page: how fast, how far behind, and whether anybody is needed.

use axum::extract::State;
use futures::future::try_join_all;
use maud::{Markup, html};
use serde_json::Value;

use crate::backend::Refused;
use crate::console::{Console, Shared};
use crate::error::Failure;
use crate::format::{bar, grouped, number, percent, rows, state, text};
use crate::layout::{Parts, Section, page_with_notice};
use crate::session::Visitor;

/// What the parts are made of.
const CALLS: [&str; 5] = [
    "/admin/projection",
    "/admin/parked?size=1",
    "/admin/job",
    "/admin/product?size=8",
    "/admin/mass-refund",
];

/// The part that says what an operator is needed for.
pub(crate) const NEEDS: &str = "needs";

pub(crate) async fn page(State(console): Shared, visitor: Visitor) -> Result<Markup, Failure> {
    let parts = parts(&console, &visitor)
        .await
        .map_err(Failure::of(&visitor))?;
    let part = |name: &str| {
        parts
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, part)| part.clone())
    };
    let body = html! {
        h1 { "Overview" }
        div sse-swap="trouble" {}
        section aria-labelledby="needs" {
            h2 #needs { "Is anybody needed?" }
            div sse-swap="needs" role="status" { (part("needs").unwrap_or_default()) }
        }
        section aria-labelledby="now" {
            h2 #now { "Now" }
            div .tiles sse-swap="tiles" { (part("tiles").unwrap_or_default()) }
        }
        section aria-labelledby="rate" {
            h2 #rate { "The last five minutes" }
            figure {
                div #chart data-samples=(console.samples.series()) data-zone=(console.time_zone) aria-hidden="true" {}
                figcaption { "Invests accepted and events appended a second, by all processes; measured while somebody is logged in. Times are those of " (console.time_zone) ", as on all pages." }
            }
            span hidden sse-swap="sample" {}
        }
        section aria-labelledby="products" {
            h2 #products { "Newest products" }
            div sse-swap="products" { (part("products").unwrap_or_default()) }
            p { a href="/console/products" { "All products" } }
        }
        section aria-labelledby="given-back" {
            h2 #given-back { "Given back" }
            div sse-swap="refunds" { (part("refunds").unwrap_or_default()) }
        }
    };
    let notice = console.sessions.take_notice(&visitor);
    Ok(page_with_notice(
        Some(Section::Overview),
        &visitor,
        Some("/console/live/overview"),
        "Overview",
        notice,
        &body,
    ))
}

pub(crate) async fn parts(console: &Console, visitor: &Visitor) -> Result<Parts, Refused> {
    let asked = CALLS.map(|call| console.backend.get(visitor, call));
    let answers = try_join_all(asked).await?;
    let [projections, parked, jobs, products, refunds] = answers.as_slice() else {
        return Ok(Vec::new());
    };
    let parked = number(&parked["totalCount"]);
    let mut parts = vec![
        (NEEDS.to_owned(), needs(console, projections, parked).await),
        ("tiles".into(), tiles(console, projections, parked, jobs)),
        ("products".into(), filling(products)),
        ("refunds".into(), given_back(refunds)),
    ];
    let sample = console.samples.latest();
    parts.extend(sample.map(|sample| ("sample".to_owned(), html! { (sample.point()) })));
    Ok(parts)
}

async fn needs(console: &Console, projections: &Value, parked: i64) -> Markup {
    let needs = console.process.needs(projections, parked);
    listed(
        &unready(console)
            .await
            .into_iter()
            .chain(needs)
            .collect::<Vec<_>>(),
    )
}

/// The same, where the calls that say more were answered with `message`.
pub(crate) async fn needs_in_trouble(console: &Console, message: &str) -> Markup {
    let rest = format!("the rest cannot be read now: {message}");
    listed(
        &unready(console)
            .await
            .into_iter()
            .chain([rest])
            .collect::<Vec<_>>(),
    )
}

async fn unready(console: &Console) -> Vec<String> {
    let unready = console.process.unready().await.into_iter();
    unready
        .map(|why| format!("this process is not ready: {why}; see MoaNotReady in docs/runbook.md"))
        .collect()
}

fn listed(all: &[String]) -> Markup {
    html! {
        @if all.is_empty() {
            p .done { "Nothing needs an operator." }
        } @else {
            ul .failed { @for need in all { li { (need) } } }
        }
    }
}

fn tiles(console: &Console, projections: &Value, parked: i64, jobs: &Value) -> Markup {
    let lag = |row: &Value| {
        row["lagSeconds"]
            .as_f64()
            .filter(|_| row["state"] == "RUNNING")
    };
    let greatest = rows(&projections["list"])
        .iter()
        .filter_map(lag)
        .fold(0.0, f64::max);
    let running = rows(&jobs["list"])
        .iter()
        .filter(|job| job["state"] == "RUNNING")
        .count();
    let sample = console.samples.latest();
    let rate = |value: Option<f64>| {
        value.map_or_else(|| "…".to_owned(), |value| grouped(value.round() as i64))
    };
    let tiles = [
        (
            "accepted a second",
            rate(sample.map(|sample| sample.accepted_per_second)),
        ),
        (
            "events a second",
            rate(sample.map(|sample| sample.events_per_second)),
        ),
        (
            "reservations without a fate",
            sample.map_or_else(|| "…".to_owned(), |sample| grouped(sample.unresolved)),
        ),
        ("greatest lag", format!("{greatest:.1} s")),
        ("parked deliveries", grouped(parked)),
        ("running jobs", running.to_string()),
    ];
    html! { @for (name, value) in tiles { div .tile { span .value { (value) } " " span .name { (name) } } } }
}

fn filling(products: &Value) -> Markup {
    let list = rows(&products["list"]);
    html! {
        @if list.is_empty() { p .quiet { "There is no product yet." } }
        ul .bars {
            @for product in list {
                @let title = text(&product["title"]);
                li {
                    span .title { (title) }
                    (state(&text(&product["state"])))
                    (bar(&format!("Taken of {title}"), number(&product["currentInvestingAmount"]), number(&product["totalInvestingAmount"])))
                }
            }
        }
    }
}

fn given_back(refunds: &Value) -> Markup {
    let list = rows(&refunds["list"]);
    html! {
        @if list.is_empty() { p .quiet { "No product is being given back." } }
        ul .bars {
            @for refund in list {
                @let read = percent(number(&refund["readPercent"]), 100);
                li {
                    span .title { "Product " (number(&refund["productId"])) }
                    progress aria-label=(format!("Read of product {}", number(&refund["productId"]))) value=(read) max="100" {}
                    span .of { (read) " %, " (text(&refund["queuedRefunds"])) " refunds queued" }
                }
            }
        }
    }
}
