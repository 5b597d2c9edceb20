//! `GET /admin/audit/invest/{id}`: the timeline of one invest, cause by cause: the request, its reservation, the payment calls,
//! its fate, and which consumers applied them.

mod applied;
mod checkpoint_history;
mod entry;
mod invest_events;
mod payment_calls;

pub use checkpoint_history::record_checkpoint_history;

use crate::Audit;
use crate::as_of::problem;
use applied::Applied;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use domain::{InvestId, ProductEvent};
use edge::{InvestIdPath, Problem, ServiceTime};
use entry::{Cause, TimelineEntry};
use event_log::RecordedEvent;
use invest_events::InvestEvents;
use payment_calls::PaymentCall;
use serde::Serialize;
use std::sync::Arc;

pub(crate) fn routes() -> Router<Arc<Audit>> {
    Router::new().route("/admin/audit/invest/{id}", get(one))
}

const NO_COUNTERS: &str = "the counters in Redis are not listed: they keep no time";
const NO_CALLS: &str = "no payment call is written down: the provider that approves everything is never asked; or they \
                        were dropped, or were purged";

/// One invest from its request to the consumers that applied its events.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Timeline {
    invest_id: String,
    product_id: i64,
    user_id: String,
    /// Won.
    amount: i64,
    state: &'static str,
    correlation_id: String,
    traceparent: Option<String>,
    /// Each after its cause; what has the same cause by time.
    steps: Vec<TimelineEntry>,
    /// What is not in the steps, and why.
    notes: Vec<&'static str>,
}

async fn one(State(audit): State<Arc<Audit>>, InvestIdPath(id): InvestIdPath) -> Result<Response, Problem> {
    let found = invest_events::find(&audit.log, &audit.read, id).await.map_err(problem)?.ok_or(Problem::NotFound)?;
    let calls = payment_calls::of(&audit.read, id).await.map_err(unavailable)?;
    let mut applied = applied::of(&audit.read, &found.reservation).await.map_err(unavailable)?;
    let fate_applied = match &found.fate {
        Some(fate) => applied::of(&audit.read, fate).await.map_err(unavailable)?,
        None => Vec::new(),
    };
    applied.sort_by_key(Applied::time);
    let timeline = build_timeline(id, &found, &calls, &applied, fate_applied, audit.time).ok_or(Problem::NotFound)?;
    Ok(edge::ok(timeline))
}

fn unavailable(error: sqlx::Error) -> Problem {
    problem(error.into())
}

/// Puts it together; `None` when what was found is no reservation.
fn build_timeline(
    id: InvestId,
    found: &InvestEvents,
    calls: &[PaymentCall],
    applied: &[Applied],
    mut fate_applied: Vec<Applied>,
    time: ServiceTime,
) -> Option<Timeline> {
    let ProductEvent::InvestReserved { user_id, amount, .. } = &found.reservation.event else { return None };
    fate_applied.sort_by_key(Applied::time);
    let (reservation, user) = (&found.reservation, format!("user {user_id}"));
    let cause = Cause::of(reservation);
    let mut steps = Vec::from_iter(entry::requested(id, reservation, &user, time));
    steps.push(entry::reserved(reservation, &user, time));
    steps.extend(applied.iter().map(|applied| entry::applied(applied, reservation, 2, time)));
    steps.extend(calls.iter().map(|call| entry::called(call, &cause, time)));
    if let Some(fate) = &found.fate {
        steps.push(entry::ended(fate, time));
        steps.extend(fate_applied.iter().map(|applied| entry::applied(applied, fate, 3, time)));
    }
    Some(Timeline {
        invest_id: id.to_string(),
        product_id: reservation.product_id.get(),
        user_id: user_id.to_string(),
        amount: amount.won(),
        state: state(found.fate.as_ref()),
        correlation_id: reservation.metadata.correlation_id.clone(),
        traceparent: reservation.metadata.traceparent.clone(),
        steps,
        notes: if calls.is_empty() { vec![NO_COUNTERS, NO_CALLS] } else { vec![NO_COUNTERS] },
    })
}

fn state(fate: Option<&RecordedEvent>) -> &'static str {
    match fate.map(|fate| &fate.event) {
        Some(ProductEvent::InvestSettled { .. }) => "SETTLED",
        Some(ProductEvent::InvestFailed { .. }) => "FAILED",
        Some(
            ProductEvent::ProductOpened { .. } | ProductEvent::InvestReserved { .. } | ProductEvent::ProductClosed {},
        )
        | None => "RESERVED",
    }
}
