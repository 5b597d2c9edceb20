//! All consumers of all partitions, from start to shutdown.

use crate::{HoldingsProjection, InvestLogProjection, ProductListProjection};
use event_log::consume::{Consumer, Projection};
use event_log::{Log, Partition};
use sqlx::PgPool;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// How long a consumer that broke down is left alone before it is started anew.
const RESTART: Duration = Duration::from_secs(1);

/// Keeps every read model up with `log` until `shutdown`: one consumer for each projection and partition. Rows and
/// checkpoints are in `pool`'s database; each consumer takes one connection while it applies a batch, none while idle.
///
/// Returns when all have stopped, which takes a batch at most. Several instances may run side by side; dropping this
/// stops them where they are, and what was not committed is applied at the next start.
pub async fn run(log: Log, pool: PgPool, shutdown: CancellationToken) {
    let mut consumers = JoinSet::new();
    follow_all(&mut consumers, ProductListProjection, &log, &pool, &shutdown);
    follow_all(&mut consumers, HoldingsProjection, &log, &pool, &shutdown);
    follow_all(&mut consumers, InvestLogProjection, &log, &pool, &shutdown);
    while consumers.join_next().await.is_some() {}
}

fn follow_all<P: Projection>(
    consumers: &mut JoinSet<()>,
    projection: P,
    log: &Log,
    pool: &PgPool,
    shutdown: &CancellationToken,
) {
    let projection = Arc::new(projection);
    for partition in log.partitions() {
        consumers.spawn(follow(log.clone(), pool.clone(), projection.clone(), partition, shutdown.clone()));
    }
}

/// One consumer; one that panics is a bug, but no reason to stand still for good or to take the others with it.
async fn follow<P: Projection>(
    log: Log,
    pool: PgPool,
    projection: Arc<P>,
    partition: Partition,
    shutdown: CancellationToken,
) {
    loop {
        let consumer = Consumer::new(log.clone(), pool.clone(), projection.clone(), partition);
        let running = AbortOnDropHandle::new(tokio::spawn(consumer.run(shutdown.clone())));
        let Err(error) = running.await else { return };
        tracing::error!(consumer = P::NAME, partition, %error, "a consumer broke down; it is started anew");
        if shutdown.run_until_cancelled(tokio::time::sleep(RESTART)).await.is_none() {
            return;
        }
    }
}
