//! The policy that gives every reservation its fate: for each open invest, ask for the payment, then settle or fail it
//! through the desk, which refuses a second fate.
//!
//! The work list is `open_invest`, apply-once from the log: nothing can be forgotten, and several instances share it.
//! Who writes a row hands it to its own process's settlement right away; a row that got no fate that way, for whatever
//! reason, is due a little later and taken by a sweep, of any instance.

mod open_invest;
mod work_list;

pub use open_invest::OpenInvest;

use crate::desk::{Answer, Desks, NoVerdict, Order, Request, Verdict};
use chrono::{DateTime, TimeDelta, Utc};
use domain::{InvestId, ProductId, Refusal};
use event_log::{DatabaseClock, Metadata};
use futures::future::join_all;
use sqlx::PgPool;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How many open invests are seen to together.
const TOGETHER: usize = 500;
/// How many may be handed over and wait; rows past that are left to the sweep.
const HANDED: usize = 8_192;
/// How often the list is swept for what is due.
const SWEEP: Duration = Duration::from_millis(500);
/// How long whoever has an open invest may take, before it is due for another; so long what was handed over waits when
/// its process is gone. A desk mostly needs milliseconds, and a second fate is refused, so sooner would only be waste.
const TAKEN_FOR: TimeDelta = TimeDelta::seconds(5);

/// An open invest to be seen to.
#[derive(Debug)]
pub(crate) struct Due {
    invest_id: InvestId,
    product_id: ProductId,
    expires_at: DateTime<Utc>,
    event_id: Uuid,
    correlation_id: String,
    traceparent: Option<String>,
}

/// Both ends of what is handed over: for the consumers of `open_invest`, and for [`settle`].
pub fn hand_over() -> (HandOver, Handed) {
    let (sender, receiver) = mpsc::channel(HANDED);
    (HandOver(sender), Handed(receiver))
}

/// Where the consumers of `open_invest` hand new rows over.
#[derive(Clone, Debug)]
pub struct HandOver(mpsc::Sender<Due>);

/// Where [`settle`] gets them.
#[derive(Debug)]
pub struct Handed(mpsc::Receiver<Due>);

impl Handed {
    /// Whether nothing can come any more; asking for it would be answered at once, for ever.
    fn is_over(&self) -> bool {
        self.0.is_closed() && self.0.is_empty()
    }
}

/// Settles open invests until `shutdown`; what is under way then is finished.
pub async fn settle(desks: Desks, pool: PgPool, mut handed: Handed, shutdown: CancellationToken) {
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut due, mut clock) = (Vec::with_capacity(TOGETHER), None);
    while !shutdown.is_cancelled() {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            _ = sweep.tick() => clock = taken(&pool, &mut due, &mut sweep).await.or(clock),
            // Nothing is given a fate before the time is known.
            _ = handed.0.recv_many(&mut due, TOGETHER), if clock.is_some() && !handed.is_over() => {}
        }
        if let Some(clock) = &clock {
            join_all(due.drain(..).map(|due| give_fate(&desks, due, clock.now()))).await;
        }
    }
}

/// Takes what is due from the list; says the database's time. When there is more, the next sweep comes at once.
async fn taken(pool: &PgPool, due: &mut Vec<Due>, sweep: &mut tokio::time::Interval) -> Option<DatabaseClock> {
    match work_list::take(pool, TOGETHER as i64).await {
        Ok((clock, rows)) => {
            if rows.len() == TOGETHER {
                sweep.reset_immediately();
            }
            due.extend(rows);
            Some(clock)
        }
        Err(error) => {
            tracing::warn!(%error, "open invests cannot be read; trying again");
            None
        }
    }
}

async fn give_fate(desks: &Desks, due: Due, now: DateTime<Utc>) {
    let request = if due.expires_at <= now { Request::Expire(due.invest_id) } else { approve(&due) };
    let metadata = Metadata {
        correlation_id: due.correlation_id,
        causation_id: Some(due.event_id.to_string()),
        traceparent: due.traceparent,
    };
    match desks.submit(Order::new(due.product_id, request, metadata)).await {
        // The row goes with the event that the desk wrote. An invest that is no longer open has its fate: the row is
        // about to go. Of the rest, a sweep takes it when it is due again; not expired it is to a desk whose idea of the
        // database's time is a little behind ours.
        Ok(Verdict { answer: Answer::Accepted | Answer::Refused(Refusal::NotOpen | Refusal::NotExpired), .. }) => {}
        Err(NoVerdict::Overloaded | NoVerdict::OutcomeUnknown) => {}
        other => tracing::error!(invest_id = %due.invest_id, verdict = ?other, "an open invest got no fate"),
    }
}

/// The `approve` provider: every payment is made at once.
fn approve(due: &Due) -> Request {
    Request::Settle(due.invest_id)
}
