//! Settlement with the provider `approve`: every payment is made at once, so many invests share a commit.

use super::work_list::Wanted;
use super::{Due, Handed, SWEEP, TOGETHER, fate, work_list};
use crate::desk::{Desks, Request};
use crate::settlement::Provider;
use chrono::{DateTime, Utc};
use connection_pool::Pool;
use event_log::{DatabaseClock, Log, RepeatedFault};
use futures::future::join_all;
use tokio_util::sync::CancellationToken;

pub(super) async fn settle(desks: &Desks, pool: &Pool, mut handed: Handed, shutdown: &CancellationToken) {
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut due, mut clock) = (Vec::with_capacity(TOGETHER), None);
    let mut fault = work_list::fault(desks.log());
    while !shutdown.is_cancelled() {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            _ = sweep.tick() => clock = taken(desks.log(), pool, &mut due, &mut sweep, &mut fault).await.or(clock),
            // Nothing is given a fate before the time is known.
            _ = handed.0.recv_many(&mut due, TOGETHER), if clock.is_some() && !handed.is_over() => {}
        }
        if let Some(clock) = &clock {
            let fates = join_all(due.drain(..).map(|due| give(desks, due, clock.now()))).await;
            fate::count(&fates);
        }
    }
}

/// Takes what is due from the list; says the database's time. When there is more, the next sweep comes at once.
async fn taken(
    log: &Log,
    pool: &Pool,
    due: &mut Vec<Due>,
    sweep: &mut tokio::time::Interval,
    fault: &mut RepeatedFault,
) -> Option<DatabaseClock> {
    let (clock, rows) =
        work_list::taken(log, pool, Wanted { new: TOGETHER, retries: TOGETHER }, Provider::Approve.taken_for(), fault)
            .await?;
    if rows.len() >= TOGETHER {
        sweep.reset_immediately();
    }
    due.extend(rows);
    Some(clock)
}

async fn give(desks: &Desks, due: Due, now: DateTime<Utc>) -> Option<fate::Fate> {
    let invest_id = due.invest_id;
    let request = if due.expires_at <= now { Request::Expire(invest_id) } else { Request::Settle(invest_id) };
    fate::give(desks, due, request).await
}
