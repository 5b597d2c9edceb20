//! `GET /admin/audit/invest/{id}`: the story of one invest, cause by cause: the request, its reservation, what the payment
//! provider was asked, its fate, and who applied which of it.

mod applied;
mod calls;
mod found;
mod step;
mod trail;

pub use trail::keep_trail;

use crate::Audit;
use crate::as_of::problem;
use applied::Applied;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use calls::Call;
use domain::{InvestId, ProductEvent};
use edge::{InvestIdPath, Problem, ServiceTime};
use event_log::RecordedEvent;
use found::Found;
use serde::Serialize;
use std::sync::Arc;
use step::{Cause, Step};

pub(crate) fn routes() -> Router<Arc<Audit>> {
    Router::new().route("/admin/audit/invest/{id}", get(one))
}

const NO_COUNTERS: &str = "the counters in Redis are not listed: they keep no time";
const NO_CALLS: &str = "no payment call is written down: the provider that approves everything is never asked; or they \
                        were dropped, or are forgotten";

/// One invest from its request to whoever applied it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Story {
    invest_id: String,
    product_id: i64,
    user_id: String,
    /// Won.
    amount: i64,
    state: &'static str,
    correlation_id: String,
    traceparent: Option<String>,
    /// Each after its cause; what has the same cause by time.
    steps: Vec<Step>,
    /// What is not in the steps, and why.
    notes: Vec<&'static str>,
}

async fn one(State(audit): State<Arc<Audit>>, InvestIdPath(id): InvestIdPath) -> Result<Response, Problem> {
    let found = found::find(&audit.log, &audit.read, id).await.map_err(problem)?.ok_or(Problem::NotFound)?;
    let calls = calls::of(&audit.read, id).await.map_err(unavailable)?;
    let mut applied = applied::of(&audit.read, &found.reservation).await.map_err(unavailable)?;
    let fate_applied = match &found.fate {
        Some(fate) => applied::of(&audit.read, fate).await.map_err(unavailable)?,
        None => Vec::new(),
    };
    applied.sort_by_key(Applied::time);
    let story = told(id, &found, &calls, &applied, fate_applied, audit.time).ok_or(Problem::NotFound)?;
    Ok(edge::ok(story))
}

fn unavailable(error: sqlx::Error) -> Problem {
    problem(error.into())
}

/// Puts it together; `None` when what was found is no reservation.
fn told(
    id: InvestId,
    found: &Found,
    calls: &[Call],
    applied: &[Applied],
    mut fate_applied: Vec<Applied>,
    time: ServiceTime,
) -> Option<Story> {
    let ProductEvent::InvestReserved { user_id, amount, .. } = &found.reservation.event else { return None };
    fate_applied.sort_by_key(Applied::time);
    let (reservation, user) = (&found.reservation, format!("user {user_id}"));
    let cause = Cause::of(reservation);
    let mut steps = Vec::from_iter(step::requested(id, reservation, &user, time));
    steps.push(step::reserved(reservation, &user, time));
    steps.extend(applied.iter().map(|applied| step::applied(applied, reservation, 2, time)));
    steps.extend(calls.iter().map(|call| step::called(call, &cause, time)));
    if let Some(fate) = &found.fate {
        steps.push(step::ended(fate, time));
        steps.extend(fate_applied.iter().map(|applied| step::applied(applied, fate, 3, time)));
    }
    Some(Story {
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
