//! Settlement with the provider `approve`: every payment is made at once, so an invest that this process has reserved is settled without
//! waiting for its row in `open_invest`. A row whose invest got no fate that way, for whatever reason, is claimed by a sweep.

use super::work_list::Wanted;
use super::{CLAIM_BATCH, OpenInvestTask, SWEEP_INTERVAL, fate, open_invest, work_list};
use crate::processor::{PartitionProcessors, UntimedCommand};
use crate::settlement::Provider;
use chrono::{DateTime, Utc};
use connection_pool::Pool;
use domain::ProductCommand;
use event_log::{DatabaseClock, LocalSubscription, Log, RepeatedFault};
use futures::future::join_all;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often it is looked whether the database's clock is known; the poll of the heads reads it.
const CLOCK_POLL_INTERVAL: Duration = Duration::from_millis(20);

pub(super) async fn settle(
    processors: &PartitionProcessors,
    pool: &Pool,
    shutdown: &CancellationToken,
) {
    let log = processors.log();
    let reserved = log
        .partitions()
        .filter_map(|partition| log.subscribe(partition));
    let settling =
        join_all(reserved.map(|reserved| settle_reserved(processors, pool, reserved, shutdown)));
    tokio::join!(settling, sweep(processors, pool, shutdown));
}

/// Settles what this process reserves in one partition.
async fn settle_reserved(
    processors: &PartitionProcessors,
    pool: &Pool,
    mut reserved: LocalSubscription,
    shutdown: &CancellationToken,
) {
    let next = async |reserved: &mut LocalSubscription| {
        // No invest gets a fate before the time is known.
        let clock = known_clock(processors.log()).await;
        let batches = reserved.appended().await;
        // It may have been read again since.
        (batches, processors.log().trusted_clock().unwrap_or(clock))
    };
    while let Some((batches, clock)) = shutdown.run_until_cancelled(next(&mut reserved)).await {
        let events = batches.iter().flat_map(|batch| batch.iter());
        let due = events
            .filter_map(|event| open_invest::due(event, Provider::Approve.visibility_timeout()));
        give_all(processors, pool, due, clock.now()).await;
    }
}

/// The database's clock, once it is known.
async fn known_clock(log: &Log) -> DatabaseClock {
    loop {
        match log.trusted_clock() {
            Some(clock) => return clock,
            None => tokio::time::sleep(CLOCK_POLL_INTERVAL).await,
        }
    }
}

async fn sweep(processors: &PartitionProcessors, pool: &Pool, shutdown: &CancellationToken) {
    let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut fault = work_list::fault(processors.log());
    while shutdown.run_until_cancelled(sweep.tick()).await.is_some() {
        let Some((due, now)) = claim_due(processors.log(), pool, &mut fault).await else {
            continue;
        };
        if due.len() >= CLAIM_BATCH {
            // There is more.
            sweep.reset_immediately();
        }
        give_all(processors, pool, due, now).await;
    }
}

async fn claim_due(
    log: &Log,
    pool: &Pool,
    fault: &mut RepeatedFault,
) -> Option<(Vec<OpenInvestTask>, DateTime<Utc>)> {
    let wanted = Wanted {
        new: CLAIM_BATCH,
        retries: CLAIM_BATCH,
    };
    let (clock, due) = work_list::claim_due(
        log,
        pool,
        wanted,
        Provider::Approve.visibility_timeout(),
        fault,
    )
    .await?;
    Some((due, clock.now()))
}

async fn give_all(
    processors: &PartitionProcessors,
    pool: &Pool,
    due: impl IntoIterator<Item = OpenInvestTask>,
    now: DateTime<Utc>,
) {
    fate::count(&join_all(due.into_iter().map(|due| give(processors, pool, due, now))).await);
}

async fn give(
    processors: &PartitionProcessors,
    pool: &Pool,
    due: OpenInvestTask,
    now: DateTime<Utc>,
) -> Option<fate::Fate> {
    let invest_id = due.invest_id;
    let command = if due.given_back.is_some() {
        due.refunded().into()
    } else if due.expires_at <= now {
        UntimedCommand::Expire(invest_id)
    } else {
        ProductCommand::SettleInvest { invest_id }.into()
    };
    fate::decide(processors, pool, due, command).await
}
