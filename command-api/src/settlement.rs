//! The policy that gives every reservation its fate: for each open invest, ask for the payment, then settle or fail it
//! through the desk, which refuses a second fate.
//!
//! The work list is `open_invest`, apply-once from the log: nothing can be forgotten, and several instances share it.

mod open_invest;
mod work_list;

pub use open_invest::OpenInvest;

use crate::desk::{Answer, Desks, NoVerdict, Order, Request, Verdict};
use chrono::{DateTime, Utc};
use domain::Refusal;
use event_log::Metadata;
use sqlx::PgPool;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use work_list::Due;

/// How many open invests are looked at together.
const SWEEP: i64 = 500;
/// How often the work list is looked at when nothing wakes us.
const POLL: Duration = Duration::from_millis(500);

/// Settles open invests until `shutdown`; what is under way then is finished.
pub async fn settle(desks: Desks, pool: PgPool, open: std::sync::Arc<OpenInvest>, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        let news = open.news();
        match sweep(&desks, &pool).await {
            Ok(found) if found > 0 => continue,
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "open invests cannot be read; trying again"),
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = news => {}
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

/// Takes what is due and sees to all of it; says how much that was.
async fn sweep(desks: &Desks, pool: &PgPool) -> sqlx::Result<usize> {
    let (now, taken) = work_list::take(pool, SWEEP).await?;
    let found = taken.len();
    let mut fates = JoinSet::new();
    for due in taken {
        let desks = desks.clone();
        fates.spawn(async move { give_fate(&desks, due, now).await });
    }
    fates.join_all().await;
    Ok(found)
}

async fn give_fate(desks: &Desks, due: Due, now: DateTime<Utc>) {
    let request = if due.expires_at <= now { Request::Expire(due.invest_id) } else { approve(&due) };
    let metadata = Metadata {
        correlation_id: due.correlation_id,
        causation_id: Some(due.event_id.to_string()),
        traceparent: None,
    };
    match desks.submit(Order::new(due.product_id, request, metadata)).await {
        // The row goes with the event that the desk wrote. An invest that is no longer open has its fate: the row is
        // about to go. Of the rest, another sweep takes it when it is due again.
        Ok(Verdict { answer: Answer::Accepted | Answer::Refused(Refusal::NotOpen), .. }) => {}
        Err(NoVerdict::Overloaded | NoVerdict::OutcomeUnknown) => {}
        other => tracing::error!(invest_id = %due.invest_id, verdict = ?other, "an open invest got no fate"),
    }
}

/// The `approve` provider: every payment is made at once.
fn approve(due: &Due) -> Request {
    Request::Settle(due.invest_id)
}
