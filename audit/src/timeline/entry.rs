//! The entries of a timeline: what happened, when, by whom, because of what.

use super::applied::Applied;
use super::invest_events::requested_at;
use super::payment_calls::PaymentCall;
use domain::{GiveBackReason, InvestId, ProductEvent};
use edge::ServiceTime;
use event_log::RecordedEvent;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

/// One step.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct TimelineEntry {
    /// REQUESTED, RESERVED, PAYMENT_CALL, SETTLED, FAILED, WITHDRAWN, REFUNDED, APPLIED, NOT_APPLIED.
    what: &'static str,
    /// Null when it has not happened.
    at: Option<String>,
    actor: String,
    correlation_id: String,
    /// The id of the event it comes of; null where the request is the cause, or there is none.
    causation_id: Option<String>,
    /// How many causes it has in a row.
    depth: usize,
    /// By `what`.
    #[schema(value_type = Object)]
    details: Value,
}

impl TimelineEntry {
    pub(super) fn depth(&self) -> usize {
        self.depth
    }
}

/// What a reservation leads to has this in common.
pub(super) struct Cause {
    event_id: String,
    correlation_id: String,
}

impl Cause {
    pub(super) fn of(event: &RecordedEvent) -> Self {
        let correlation_id = event.metadata.correlation_id.clone();
        Self {
            event_id: event.event_id.to_string(),
            correlation_id,
        }
    }
}

/// When the request came stands in the invest id alone; `None` when it does not.
pub(super) fn requested(
    id: InvestId,
    reservation: &RecordedEvent,
    user: &str,
    time: ServiceTime,
) -> Option<TimelineEntry> {
    let ProductEvent::InvestReserved { amount, .. } = &reservation.event else {
        return None;
    };
    Some(TimelineEntry {
        what: "REQUESTED",
        at: Some(time.format(requested_at(id.0)?)),
        actor: user.into(),
        correlation_id: reservation.metadata.correlation_id.clone(),
        causation_id: None,
        depth: 0,
        details: json!({
            "amount": amount.won(),
            "traceparent": reservation.metadata.traceparent,
            "timeIs": "the one in the invest id, by the clock of the process that took the request",
        }),
    })
}

pub(super) fn reserved(event: &RecordedEvent, user: &str, time: ServiceTime) -> TimelineEntry {
    let expires_at = match &event.event {
        ProductEvent::InvestReserved { expires_at, .. } => Some(time.format(*expires_at)),
        ProductEvent::ProductOpened { .. }
        | ProductEvent::InvestSettled { .. }
        | ProductEvent::InvestFailed { .. }
        | ProductEvent::InvestWithdrawn { .. }
        | ProductEvent::InvestRefunded { .. }
        | ProductEvent::ProductClosed {}
        | ProductEvent::ProductCancelled { .. }
        | ProductEvent::ProductFailed { .. } => None,
    };
    let mut details = place(event);
    details["expiresAt"] = json!(expires_at);
    recorded("RESERVED", event, user.into(), 1, details, time)
}

/// What became of it. A withdrawal is the user's own request; the others have a cause before them.
pub(super) fn changed(event: &RecordedEvent, user: &str, time: ServiceTime) -> TimelineEntry {
    let mut details = place(event);
    let (actor, depth) = match &event.event {
        ProductEvent::InvestFailed { code, detail, .. } => {
            details["code"] = json!(code);
            details["detail"] = json!(detail);
            ("settlement", 2)
        }
        ProductEvent::InvestRefunded { code, .. } => {
            details["code"] = json!(code);
            details["detail"] = json!(GiveBackReason::from_code(code).map(GiveBackReason::detail));
            ("settlement", 2)
        }
        ProductEvent::InvestWithdrawn { settled, .. } => {
            details["wasSettled"] = json!(settled);
            (user, 1)
        }
        ProductEvent::InvestSettled { .. }
        | ProductEvent::ProductOpened { .. }
        | ProductEvent::InvestReserved { .. }
        | ProductEvent::ProductClosed {}
        | ProductEvent::ProductCancelled { .. }
        | ProductEvent::ProductFailed { .. } => ("settlement", 2),
    };
    recorded(state(event), event, actor.into(), depth, details, time)
}

/// The state of an invest of which this is the last event.
pub(super) fn state(event: &RecordedEvent) -> &'static str {
    match &event.event {
        ProductEvent::InvestSettled { .. } => "SETTLED",
        ProductEvent::InvestFailed { .. } => "FAILED",
        ProductEvent::InvestWithdrawn { .. } => "WITHDRAWN",
        ProductEvent::InvestRefunded { .. } => "REFUNDED",
        ProductEvent::InvestReserved { .. }
        | ProductEvent::ProductOpened { .. }
        | ProductEvent::ProductClosed {}
        | ProductEvent::ProductCancelled { .. }
        | ProductEvent::ProductFailed { .. } => "RESERVED",
    }
}

fn recorded(
    what: &'static str,
    event: &RecordedEvent,
    actor: String,
    depth: usize,
    details: Value,
    time: ServiceTime,
) -> TimelineEntry {
    TimelineEntry {
        what,
        at: Some(time.format(event.recorded_at)),
        actor,
        correlation_id: event.metadata.correlation_id.clone(),
        causation_id: event.metadata.causation_id.clone(),
        depth,
        details,
    }
}

/// Where an event stands in the log.
fn place(event: &RecordedEvent) -> Value {
    json!({
        "eventId": event.event_id.to_string(),
        "event": event.event.name(),
        "productId": event.product_id.get(),
        "sequence": event.sequence,
        "partition": event.partition,
        "position": event.position,
    })
}

/// Settlement asked, the provider answered.
pub(super) fn called(call: &PaymentCall, cause: &Cause, time: ServiceTime) -> TimelineEntry {
    TimelineEntry {
        what: "PAYMENT_CALL",
        at: Some(time.format(call.asked_at)),
        actor: "payment provider".into(),
        correlation_id: cause.correlation_id.clone(),
        causation_id: Some(cause.event_id.clone()),
        depth: 2,
        details: json!({
            "askedBy": "settlement",
            "call": call.call,
            "answer": call.answer,
            "detail": call.detail,
            "tookMs": call.took_ms,
            "attempt": call.attempt,
        }),
    }
}

/// A consumer has applied the event, or has not yet.
pub(super) fn applied(
    applied: &Applied,
    event: &RecordedEvent,
    depth: usize,
    time: ServiceTime,
) -> TimelineEntry {
    let before = applied.before.map(|at| time.format(at));
    TimelineEntry {
        what: if applied.is_applied {
            "APPLIED"
        } else {
            "NOT_APPLIED"
        },
        at: before.clone(),
        actor: format!("consumer {}", applied.consumer),
        correlation_id: event.metadata.correlation_id.clone(),
        causation_id: Some(event.event_id.to_string()),
        depth,
        details: json!({
            "event": event.event.name(),
            "position": event.position,
            "appliedAfter": applied.is_applied.then(|| time.format(applied.after)),
            "appliedBefore": before,
        }),
    }
}
