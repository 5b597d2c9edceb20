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

#[cfg(test)]
mod tests {
    use super::*;
    use domain::ProductEvent;
    use event_log::consume::ApplyError;
    use event_log::{Batch, Metadata, NewEvent, RecordedEvent, Writer};
    use sqlx::PgConnection;
    use std::sync::atomic::{AtomicBool, Ordering};
    use testbed::Database;

    /// Longer than one restart takes, by far.
    const PATIENCE: Duration = Duration::from_secs(20);

    #[derive(Default)]
    struct PanicsOnce(AtomicBool);

    impl Projection for PanicsOnce {
        const NAME: &'static str = "panics_once";

        async fn apply(&self, _: &mut PgConnection, _: &[RecordedEvent]) -> Result<(), ApplyError> {
            assert!(self.0.swap(true, Ordering::Relaxed), "a bug, in a test");
            Ok(())
        }
    }

    async fn log_with_an_event(pool: &PgPool) -> Log {
        let log = Log::open(pool.clone(), 1).await.unwrap();
        let mut writer = Writer::open(log.clone(), 0).await.unwrap();
        let product_id = 1.try_into().unwrap();
        let metadata = Metadata { correlation_id: "a test".into(), ..Metadata::default() };
        let event = NewEvent { product_id, sequence: 1, event: ProductEvent::ProductClosed {}, metadata };
        let at = writer.now();
        writer.append(Batch { events: vec![event], ..Batch::default() }, at).await.unwrap();
        log
    }

    async fn comes_to_position_1(log: &Log) {
        while log.checkpoints().await.unwrap().iter().all(|at| at.position < 1) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_consumer_that_panics_is_started_anew() {
        let database = Database::fresh().await;
        let pool = database.pool().await;
        let (log, shutdown) = (log_with_an_event(&pool).await, CancellationToken::new());
        let following = follow(log.clone(), pool, Arc::new(PanicsOnce::default()), 0, shutdown.clone());
        let following = tokio::spawn(following);
        tokio::time::timeout(PATIENCE, comes_to_position_1(&log)).await.expect("it goes on after the panic");
        shutdown.cancel();
        following.await.unwrap();
    }
}
