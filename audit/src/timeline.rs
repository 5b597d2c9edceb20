//! `GET /admin/audit/invest/{id}`: the timeline of one invest, cause by cause: the request, its reservation, the payment calls,
//! what became of it, and which consumers applied them.

mod applied;
mod checkpoint_history;
mod entry;
mod invest_events;
mod payment_calls;

pub use checkpoint_history::record_checkpoint_history;

use crate::Audit;
use crate::problem::problem;
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
use utoipa::ToSchema;

pub(crate) fn routes() -> Router<Arc<Audit>> {
    Router::new().route("/admin/audit/invest/{id}", get(one))
}

const NO_COUNTERS: &str = "the counters in Redis are not listed: they keep no time";
const NO_CALLS: &str = "no payment call is written down: the provider that approves everything is never asked; or they \
                        were dropped, or were purged";

/// One invest from its request to the consumers that applied its events.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Timeline {
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

async fn one(
    State(audit): State<Arc<Audit>>,
    InvestIdPath(id): InvestIdPath,
) -> Result<Response, Problem> {
    let found = invest_events::find(&audit.log, &audit.read, id)
        .await
        .map_err(problem)?
        .ok_or(Problem::NotFound)?;
    let calls = payment_calls::of(&audit.read, id).await.map_err(problem)?;
    let applied = applied_in_order(&audit, &found.reservation).await?;
    let mut changes = Vec::new();
    for event in &found.changes {
        changes.push((event, applied_in_order(&audit, event).await?));
    }
    let timeline = build_timeline(id, &found, &calls, &applied, &changes, audit.time)
        .ok_or(Problem::NotFound)?;
    Ok(edge::ok(timeline))
}

async fn applied_in_order(audit: &Audit, event: &RecordedEvent) -> Result<Vec<Applied>, Problem> {
    let mut applied = applied::of(&audit.read, event).await.map_err(problem)?;
    applied.sort_by_key(Applied::time);
    Ok(applied)
}

/// Puts it together; `None` when what was found is no reservation.
fn build_timeline(
    id: InvestId,
    found: &InvestEvents,
    calls: &[PaymentCall],
    applied: &[Applied],
    changes: &[(&RecordedEvent, Vec<Applied>)],
    time: ServiceTime,
) -> Option<Timeline> {
    let ProductEvent::InvestReserved {
        user_id, amount, ..
    } = &found.reservation.event
    else {
        return None;
    };
    let (reservation, user) = (&found.reservation, format!("user {user_id}"));
    let cause = Cause::of(reservation);
    let mut steps = Vec::from_iter(entry::requested(id, reservation, &user, time));
    steps.push(entry::reserved(reservation, &user, time));
    steps.extend(
        applied
            .iter()
            .map(|applied| entry::applied(applied, reservation, 2, time)),
    );
    steps.extend(calls.iter().map(|call| entry::called(call, &cause, time)));
    for (event, applied) in changes {
        let changed = entry::changed(event, &user, time);
        let depth = changed.depth() + 1;
        steps.push(changed);
        steps.extend(
            applied
                .iter()
                .map(|applied| entry::applied(applied, event, depth, time)),
        );
    }
    Some(Timeline {
        invest_id: id.to_string(),
        product_id: reservation.product_id.get(),
        user_id: user_id.to_string(),
        amount: amount.won(),
        state: entry::state(found.changes.last().unwrap_or(reservation)),
        correlation_id: reservation.metadata.correlation_id.clone(),
        traceparent: reservation.metadata.traceparent.clone(),
        steps,
        notes: if calls.is_empty() {
            vec![NO_COUNTERS, NO_CALLS]
        } else {
            vec![NO_COUNTERS]
        },
    })
}
