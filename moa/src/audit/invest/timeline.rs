//! A timeline in lines: when, how long after the request, and what; each entry is below its cause and indented.

use crate::table::{rows, text};
use chrono::NaiveDateTime;
use serde_json::Value;
use std::fmt::Write as _;

/// Columns of a time with microseconds.
const TIME_CHARS: usize = "2026-01-01T10:00:00.000000".len();
/// Columns of what has passed since the first step.
const ELAPSED_CHARS: usize = 12;

/// The whole text, ending in a line's end.
pub(super) fn of(story: &Value) -> String {
    let mut lines = String::new();
    let field = |name: &str| text(&story[name]);
    // Writing to a string cannot fail.
    let _ = writeln!(
        lines,
        "Invest {} of user {}: {} won in product {}, {}",
        field("investId"),
        field("userId"),
        field("amount"),
        field("productId"),
        field("state")
    );
    let _ = writeln!(
        lines,
        "correlation {}{}\n",
        field("correlationId"),
        trace(story)
    );
    let begin = rows(&story["steps"])
        .iter()
        .find_map(|step| time(&step["at"]));
    for step in rows(&story["steps"]) {
        let _ = writeln!(lines, "{}", line(step, begin));
    }
    for note in rows(&story["notes"]) {
        let _ = write!(lines, "\nNote: {}.", text(note));
    }
    lines.push('\n');
    lines
}

fn trace(story: &Value) -> String {
    story["traceparent"]
        .as_str()
        .map(|trace| format!(", traceparent {trace}"))
        .unwrap_or_default()
}

fn line(step: &Value, begin: Option<NaiveDateTime>) -> String {
    let passed = time(&step["at"])
        .zip(begin)
        .map(|(at, begin)| seconds(at, begin))
        .unwrap_or_default();
    let indent = "  ".repeat(
        step["depth"]
            .as_u64()
            .and_then(|depth| usize::try_from(depth).ok())
            .unwrap_or_default(),
    );
    let at = step["at"].as_str().unwrap_or("-");
    format!(
        "{at:<TIME_CHARS$}{passed:>ELAPSED_CHARS$}  {indent}{}",
        said(step)
    )
    .trim_end()
    .to_owned()
}

/// `+0.001234s`
fn seconds(at: NaiveDateTime, begin: NaiveDateTime) -> String {
    let passed = (at - begin).num_microseconds().unwrap_or(i64::MAX);
    let sign = if passed < 0 { '-' } else { '+' };
    format!(
        "{sign}{}.{:06}s",
        passed.abs() / 1_000_000,
        passed.abs() % 1_000_000
    )
}

fn time(at: &Value) -> Option<NaiveDateTime> {
    NaiveDateTime::parse_from_str(at.as_str()?, "%Y-%m-%dT%H:%M:%S%.f").ok()
}

/// The step in words.
fn said(step: &Value) -> String {
    let (actor, details) = (text(&step["actor"]), &step["details"]);
    let detail = |name: &str| text(&details[name]);
    match step["what"].as_str().unwrap_or_default() {
        "REQUESTED" => format!(
            "requested by {actor}: {} won (time of the invest id)",
            detail("amount")
        ),
        "RESERVED" => format!(
            "reserved until {} ({})",
            detail("expiresAt"),
            place(details)
        ),
        "PAYMENT_CALL" => called(details),
        "SETTLED" => format!("settled by {actor} ({})", place(details)),
        "FAILED" => format!(
            "failed by {actor}: {} : {} ({})",
            detail("code"),
            detail("detail"),
            place(details)
        ),
        "WITHDRAWN" => format!("withdrawn by {actor} ({})", place(details)),
        "REFUNDED" => format!(
            "refunded by {actor}: {} : {} ({})",
            detail("code"),
            detail("detail"),
            place(details)
        ),
        "APPLIED" => format!("applied by {actor}, not before {}", detail("appliedAfter")),
        "NOT_APPLIED" => format!("not applied yet by {actor}"),
        other => format!("{other} by {actor}"),
    }
}

fn place(details: &Value) -> String {
    let detail = |name: &str| text(&details[name]);
    format!(
        "event {}, sequence {}, partition {} position {}",
        detail("eventId"),
        detail("sequence"),
        detail("partition"),
        detail("position")
    )
}

fn called(details: &Value) -> String {
    let detail = |name: &str| text(&details[name]);
    let why = details["detail"]
        .as_str()
        .filter(|why| !why.is_empty())
        .map(|why| format!(": {why}"));
    format!(
        "settlement asks the payment provider to {}: {}{} (took {} ms, attempt {})",
        detail("call"),
        detail("answer"),
        why.unwrap_or_default(),
        detail("tookMs"),
        detail("attempt")
    )
}
