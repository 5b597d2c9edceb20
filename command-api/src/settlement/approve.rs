//! Settlement with the provider `approve`: every payment is made at once, so many invests share a commit.

use super::work_list::Wanted;
use super::{CLAIM_BATCH, FastPathReceiver, OpenInvestTask, SWEEP_INTERVAL, fate, work_list};
use crate::processor::{PartitionProcessors, UntimedCommand};
use crate::settlement::Provider;
use chrono::{DateTime, Utc};
use connection_pool::Pool;
use domain::ProductCommand;
use event_log::{DatabaseClock, Log, RepeatedFault};
use futures::future::join_all;
use tokio_util::sync::CancellationToken;

pub(super) async fn settle(
    processors: &PartitionProcessors,
    pool: &Pool,
    mut fast_path: FastPathReceiver,
    shutdown: &CancellationToken,
) {
    let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut due, mut clock) = (Vec::with_capacity(CLAIM_BATCH), None);
    let mut fault = work_list::fault(processors.log());
    while !shutdown.is_cancelled() {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            _ = sweep.tick() => clock = claim_due(processors.log(), pool, &mut due, &mut sweep, &mut fault).await.or(clock),
            // No invest gets a fate before the time is known.
            _ = fast_path.0.recv_many(&mut due, CLAIM_BATCH), if clock.is_some() && !fast_path.is_over() => {}
        }
        if let Some(clock) = &clock {
            let fates = join_all(due.drain(..).map(|due| give(processors, due, clock.now()))).await;
            fate::count(&fates);
        }
    }
}

/// Claims what is due; returns the database's clock. When there is more, the next sweep comes at once.
async fn claim_due(
    log: &Log,
    pool: &Pool,
    due: &mut Vec<OpenInvestTask>,
    sweep: &mut tokio::time::Interval,
    fault: &mut RepeatedFault,
) -> Option<DatabaseClock> {
    let (clock, rows) = work_list::claim_due(
        log,
        pool,
        Wanted { new: CLAIM_BATCH, retries: CLAIM_BATCH },
        Provider::Approve.visibility_timeout(),
        fault,
    )
    .await?;
    if rows.len() >= CLAIM_BATCH {
        sweep.reset_immediately();
    }
    due.extend(rows);
    Some(clock)
}

async fn give(processors: &PartitionProcessors, due: OpenInvestTask, now: DateTime<Utc>) -> Option<fate::Fate> {
    let invest_id = due.invest_id;
    let command = if due.expires_at <= now {
        UntimedCommand::Expire(invest_id)
    } else {
        ProductCommand::SettleInvest { invest_id }.into()
    };
    fate::decide(processors, due, command).await
}
