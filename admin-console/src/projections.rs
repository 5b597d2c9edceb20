//! Read models and the other consumers of the log: how far they are, and what an operator does with them.

use axum::extract::{Path, State};
use axum::response::Response;
use futures::future::try_join;
use maud::{Markup, html};
use serde_json::Value;

use crate::backend::{Refused, escaped};
use crate::console::{Console, Shared};
use crate::error::Failure;
use crate::format::{bar, details, number, rows, state, text, time};
use crate::layout::{Parts, Section, csrf, page_with_notice, table};
use crate::session::Visitor;
use crate::submission::Submission;

/// What can be done with a read model.
struct Act {
    /// The end of its path.
    name: &'static str,
    title: &'static str,
    what: &'static str,
    /// What the admin listener calls it, and whether that only reads.
    call: &'static str,
    is_read: bool,
    said: &'static str,
}

const fn changes(
    name: &'static str,
    title: &'static str,
    what: &'static str,
    call: &'static str,
    said: &'static str,
) -> Act {
    Act {
        name,
        title,
        what,
        call,
        is_read: false,
        said,
    }
}

const ACTS: [Act; 8] = [
    changes(
        "pause",
        "Pause",
        "It applies no more events until it is resumed; reads stay as they are.",
        "pause",
        "is paused",
    ),
    changes(
        "resume",
        "Resume",
        "It applies events again.",
        "resume",
        "is resumed",
    ),
    changes(
        "rebuild",
        "Rebuild and switch",
        "A standby is built from the log, compared with the live generation, and goes live if both are equal.",
        "rebuild",
        "is being rebuilt",
    ),
    changes(
        "build",
        "Rebuild a standby",
        "The same, and the standby waits to be switched to.",
        "rebuild?switch=false",
        "is being rebuilt as a standby",
    ),
    Act {
        is_read: true,
        ..changes(
            "compare",
            "Compare with the log",
            "A standby is built, compared and dropped: nothing changes.",
            "diff",
            "is being compared",
        )
    },
    changes(
        "switch",
        "Switch",
        "The standby goes live.",
        "switch",
        "has switched",
    ),
    changes(
        "rollback",
        "Roll back",
        "The generation before goes live again.",
        "rollback",
        "is rolled back",
    ),
    changes(
        "drop",
        "Drop the standbys",
        "The running job is cancelled, and every generation that is not live is dropped.",
        "drop",
        "has no standby any more",
    ),
];

async fn consumers(console: &Console, visitor: &Visitor) -> Result<(Value, Value), Refused> {
    let get = |path| console.backend.get(visitor, path);
    try_join(get("/admin/projection"), get("/admin/job")).await
}

pub(crate) async fn list(State(console): Shared, visitor: Visitor) -> Result<Markup, Failure> {
    let (consumers, jobs) = consumers(&console, &visitor)
        .await
        .map_err(Failure::of(&visitor))?;
    let mut names: Vec<_> = rows(&consumers["list"])
        .iter()
        .filter(|row| !row["generation"].is_null())
        .map(|row| text(&row["name"]))
        .collect();
    names.dedup();
    let body = html! {
        h1 { "Projections" }
        div sse-swap="trouble" {}
        p { "Read models and the other consumers of the log. Pause, rebuild, compare or switch one:" }
        ul .links { @for name in &names { li { a href=(format!("/console/projections/{}", escaped(name))) { (name) } } } }
        div sse-swap="consumers" { (all(&consumers)) }
        h2 { "Jobs" }
        div sse-swap="jobs" { (all_jobs(&jobs)) }
    };
    let notice = console.sessions.take_notice(&visitor);
    Ok(page_with_notice(
        Some(Section::Projections),
        &visitor,
        Some("/console/live/projections"),
        "Projections",
        notice,
        &body,
    ))
}

pub(crate) async fn parts(console: &Console, visitor: &Visitor) -> Result<Parts, Refused> {
    let (consumers, jobs) = consumers(console, visitor).await?;
    Ok(vec![
        ("consumers".to_owned(), all(&consumers)),
        ("jobs".into(), all_jobs(&jobs)),
    ])
}

fn all(consumers: &Value) -> Markup {
    let columns = [
        "Name",
        "Generation",
        "Version",
        "State",
        "Lag, events",
        "Lag, seconds",
        "Positions",
    ];
    table(
        "Consumers of the log",
        &columns,
        &html! { @for row in rows(&consumers["list"]) { (consumer(row)) } },
    )
}

fn consumer(row: &Value) -> Markup {
    html! {
        tr {
            td { (text(&row["name"])) }
            td .number { (text(&row["generation"])) }
            td .number { (text(&row["version"])) }
            td {
                (state(&text(&row["state"])))
                @for stuck in rows(&row["stuck"]) {
                    p .failed { "Partition " (number(&stuck["partition"])) " at " (text(&stuck["position"])) ": " (text(&stuck["reason"])) }
                }
            }
            td .number { (text(&row["lagEvents"])) }
            td .number { (format!("{:.1}", row["lagSeconds"].as_f64().unwrap_or_default())) }
            td .number { (positions(&row["positions"])) " of " (positions(&row["head"])) }
        }
    }
}

fn positions(all: &Value) -> String {
    rows(all).iter().map(text).collect::<Vec<_>>().join(" ")
}

fn all_jobs(jobs: &Value) -> Markup {
    let list = rows(&jobs["list"]);
    html! {
        @if list.is_empty() { p .quiet { "No read model has been rebuilt or compared yet." } }
        @for job in list { (job_of(job)) }
    }
}

/// One job: how far it is, and what its comparison found.
fn job_of(job: &Value) -> Markup {
    let name = text(&job["projection"]);
    let (id, kind) = (
        number(&job["jobId"]),
        if job["kind"] == "REBUILD" {
            "Rebuild"
        } else {
            "Comparison"
        },
    );
    html! {
        article .card {
            h3 { (kind) " of " (name) ", job " (id) }
            p { (state(&text(&job["state"]))) " " (text(&job["stage"])) }
            p { (bar(&format!("Events of job {id}"), number(&job["done"]), number(&job["total"]))) }
            p .quiet { "Asked for at " (time(&job["askedAt"])) @if !job["endedAt"].is_null() { ", ended at " (time(&job["endedAt"])) } }
            @if !job["problem"].is_null() { p .failed { (text(&job["problem"])) } }
            (outcome(&job["outcome"]))
        }
    }
}

fn outcome(outcome: &Value) -> Markup {
    html! {
        @if let Some(why) = outcome["skipped"].as_str() { p { (why) } }
        @match outcome["equal"].as_bool() {
            Some(true) => p .done { "Equal at positions " (positions(&outcome["positions"])) "." },
            Some(false) => p .failed { "Different at positions " (positions(&outcome["positions"])) "." },
            None => {},
        }
        @for found in rows(&outcome["tables"]) {
            p { (text(&found["table"])) ": " (text(&found["rows"]["live"])) " rows live, " (text(&found["rows"]["new"])) " new" }
            @if !rows(&found["differences"]).is_empty() { (details(&found["differences"])) }
        }
    }
}

async fn of(
    console: &Console,
    visitor: &Visitor,
    name: &str,
) -> Result<(Vec<Value>, Option<Value>), Refused> {
    let (consumers, jobs) = consumers(console, visitor).await?;
    let mine = |list: &Value, key: &str| {
        rows(list)
            .iter()
            .filter(|row| row[key] == name)
            .cloned()
            .collect::<Vec<_>>()
    };
    let generations = mine(&consumers["list"], "name");
    if generations.is_empty() {
        let message = format!("There is no consumer {name}.");
        return Err(Refused {
            status: axum::http::StatusCode::NOT_FOUND,
            message,
        });
    }
    Ok((generations, mine(&jobs["list"], "projection").pop()))
}

pub(crate) async fn page(
    State(console): Shared,
    visitor: Visitor,
    Path(name): Path<String>,
) -> Result<Markup, Failure> {
    let (generations, job) = of(&console, &visitor, &name)
        .await
        .map_err(Failure::of(&visitor))?;
    let can_be_rebuilt = generations.iter().any(|row| !row["generation"].is_null());
    let path = format!("/console/projections/{}", escaped(&name));
    let body = html! {
        h1 { (name) }
        p { a href="/console/projections" { "All projections" } }
        div sse-swap="trouble" {}
        h2 { "Generations" }
        div sse-swap="generations" { (generations_of(&generations)) }
        @if can_be_rebuilt && visitor.is_operator() {
            h2 { "What you may do" }
            ul .choices {
                @for act in &ACTS {
                    li {
                        form method="post" action=(format!("{path}/{}", act.name)) {
                            (csrf(&visitor))
                            button type="submit" aria-describedby=(format!("about-{}", act.name)) { (act.title) }
                            span .quiet id=(format!("about-{}", act.name)) { (act.what) }
                            @if ["switch", "rebuild"].contains(&act.name) {
                                label { input type="checkbox" name="acceptDifferences" value="true"; " also when they differ" }
                            }
                        }
                    }
                }
            }
        }
        h2 { "Its latest job" }
        div sse-swap="job" role="status" { (latest(job.as_ref())) }
    };
    let notice = console.sessions.take_notice(&visitor);
    let live = format!("/console/live/projections/{}", escaped(&name));
    Ok(page_with_notice(
        Some(Section::Projections),
        &visitor,
        Some(&live),
        &name,
        notice,
        &body,
    ))
}

pub(crate) async fn parts_of(
    console: &Console,
    visitor: &Visitor,
    name: &str,
) -> Result<Parts, Refused> {
    let (generations, job) = of(console, visitor, name).await?;
    Ok(vec![
        ("generations".to_owned(), generations_of(&generations)),
        ("job".into(), latest(job.as_ref())),
    ])
}

fn generations_of(generations: &[Value]) -> Markup {
    html! {
        @for row in generations {
            article .card {
                h3 { @if row["generation"].is_null() { "Consumer" } @else { "Generation " (text(&row["generation"])) } }
                p { (state(&text(&row["state"]))) " " (text(&row["lagEvents"])) " events behind, " (format!("{:.1}", row["lagSeconds"].as_f64().unwrap_or_default())) " s" }
                dl .facts {
                    div { dt { "Version of the code" } dd { (text(&row["version"])) } }
                    div { dt { "Positions" } dd { (positions(&row["positions"])) } }
                    div { dt { "Of the log" } dd { (positions(&row["head"])) } }
                }
                @for stuck in rows(&row["stuck"]) {
                    p .failed { "Partition " (number(&stuck["partition"])) " is stuck at " (text(&stuck["position"])) ": " (text(&stuck["reason"])) }
                }
            }
        }
    }
}

fn latest(job: Option<&Value>) -> Markup {
    html! {
        @match job {
            Some(job) => (job_of(job)),
            None => p .quiet { "It has not been rebuilt or compared yet." },
        }
    }
}

async fn perform(
    console: &Console,
    submission: &Submission,
    name: &str,
    act: &Act,
) -> Result<String, Refused> {
    let mut path = format!("/admin/projection/{}/{}", escaped(name), act.call);
    if submission.field("acceptDifferences") == "true" {
        path.push_str(if path.contains('?') {
            "&acceptDifferences=true"
        } else {
            "?acceptDifferences=true"
        });
    }
    match act.is_read {
        true => console.backend.get(&submission.visitor, &path).await?,
        false => {
            console
                .backend
                .post(&submission.visitor, &path, None)
                .await?
        }
    };
    Ok(format!("{name} {}.", act.said))
}

pub(crate) async fn act(
    State(console): Shared,
    Path((name, act)): Path<(String, String)>,
    submission: Submission,
) -> Result<Response, Failure> {
    let Some(act) = ACTS.iter().find(|known| known.name == act) else {
        return Err(Failure::Unknown(Box::new(submission.visitor)));
    };
    let done = perform(&console, &submission, &name, act).await;
    Ok(submission.answer(
        &console,
        done,
        &format!("/console/projections/{}", escaped(&name)),
    ))
}
