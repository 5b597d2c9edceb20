//! Runs all consumers of all partitions, from start to shutdown.

use crate::restart::spawn_for_each_partition;
use crate::{EventIndexProjection, PROJECTIONS, ProductListProjection, standby};
use connection_pool::Pool;
use event_log::consume::{Consumer, EventSource, Projection};
use event_log::{Log, Partition};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long events gather under load before they are applied together, by what the rows are for. So old, and a step, are the rows
/// then; while there is little to do, every event is applied at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lingers {
    /// `product_list`: what is left of each product.
    pub amounts: Duration,
    /// What users see of their own invests.
    pub views: Duration,
    /// `event_index`, which only audits search.
    pub search: Duration,
}

/// How long read models are put off while many invests are accepted at once by this process, unless clients ask for them with
/// tokens. Zero puts nothing off. The products' amounts never are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deferrals {
    /// What users see of their own invests.
    pub views: Duration,
    /// `event_index`, which only audits search.
    pub search: Duration,
}

impl Default for Lingers {
    fn default() -> Self {
        Self {
            amounts: Duration::from_millis(100),
            views: Duration::from_millis(500),
            search: Duration::from_secs(1),
        }
    }
}

impl Deferrals {
    fn of(&self, projection: &str) -> Duration {
        match projection {
            ProductListProjection::NAME => Duration::ZERO,
            EventIndexProjection::NAME => self.search,
            _ => self.views,
        }
    }
}

impl Lingers {
    fn of(&self, projection: &str) -> Duration {
        match projection {
            ProductListProjection::NAME => self.amounts,
            EventIndexProjection::NAME => self.search,
            _ => self.views,
        }
    }
}

/// Keeps every read model up to date with `log` until `shutdown`, with one consumer for each projection and partition. Rows
/// and checkpoints are in `pool`'s database; a consumer uses one connection while it applies a batch, none while idle.
/// `source` returns the event source of a consumer at a partition; it is called again when a consumer that panicked is
/// started again, and a consumer without a source is not run. Standby generations are kept up to date from the log alone.
///
/// Returns when all have stopped, which takes a batch at most. Several instances may run at the same time. Dropping this future
/// stops the consumers where they are; what was not committed is applied at the next start.
pub async fn run<S: EventSource + 'static>(
    log: Log,
    pool: Pool,
    (lingers, deferrals): (Lingers, Deferrals),
    source: impl Fn(&'static str, Partition) -> Option<S> + Clone + Send + Sync + 'static,
    shutdown: CancellationToken,
) {
    let mut consumers = JoinSet::new();
    for projection in PROJECTIONS {
        with_model!(
            projection.name,
            Model => {
                let waits = (lingers.of(Model::NAME), deferrals.of(Model::NAME));
                run_consumers(&mut consumers, Model::default(), &log, &pool, waits, &source, &shutdown)
            },
            _ => {},
        );
    }
    consumers.spawn(standby::run_standbys(log, pool, shutdown));
    while consumers.join_next().await.is_some() {}
}

fn run_consumers<P: Projection, S: EventSource + 'static>(
    consumers: &mut JoinSet<()>,
    projection: P,
    log: &Log,
    pool: &Pool,
    (linger, max_deferral): (Duration, Duration),
    source: &(impl Fn(&'static str, Partition) -> Option<S> + Clone + Send + Sync + 'static),
    shutdown: &CancellationToken,
) {
    let (own_log, pool, source, stop) =
        (log.clone(), pool.clone(), source.clone(), shutdown.clone());
    let projection = Arc::new(projection);
    spawn_for_each_partition(consumers, P::NAME, log, shutdown, move |partition| {
        let consumer = Consumer::new(own_log.clone(), pool.clone(), projection.clone(), partition);
        let consumer = consumer.lingering(linger).deferred_up_to(max_deferral);
        let (source, stop) = (source(P::NAME, partition), stop.clone());
        async move {
            if let Some(source) = source {
                consumer.run_with(source, stop).await;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use connection_pool::Connection;
    use domain::ProductEvent;
    use event_log::consume::ApplyError;
    use event_log::{Batch, Metadata, NewEvent, RecordedEvent, Writer};
    use std::sync::atomic::{AtomicBool, Ordering};
    use testbed::Database;

    /// Far longer than a restart takes.
    const TEST_TIMEOUT: Duration = Duration::from_secs(20);

    #[derive(Default)]
    struct PanicsOnce(AtomicBool);

    impl Projection for PanicsOnce {
        const NAME: &'static str = "panics_once";

        async fn apply(&self, _: &mut Connection, _: &[RecordedEvent]) -> Result<(), ApplyError> {
            assert!(self.0.swap(true, Ordering::Relaxed), "a bug, in a test");
            Ok(())
        }
    }

    async fn log_with_an_event(pool: &Pool) -> Log {
        let log = Log::open(pool.clone(), 1).await.unwrap();
        let mut writer = Writer::open(log.clone(), 0).await.unwrap();
        let product_id = 1.try_into().unwrap();
        let metadata = Metadata {
            correlation_id: "a test".into(),
            ..Metadata::default()
        };
        let event = NewEvent {
            product_id,
            sequence: 1,
            event: ProductEvent::ProductClosed {},
            metadata,
        };
        let at = writer.now();
        writer
            .append(
                Batch {
                    events: vec![event],
                    ..Batch::default()
                },
                at,
            )
            .await
            .unwrap();
        log
    }

    async fn comes_to_position_1(log: &Log) {
        while log
            .checkpoints()
            .await
            .unwrap()
            .iter()
            .all(|at| at.position < 1)
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_consumer_that_panics_is_started_again() {
        let database = Database::fresh().await;
        let pool = database.pool().await;
        let (log, shutdown) = (log_with_an_event(&pool).await, CancellationToken::new());
        let mut consumers = JoinSet::new();
        let listen = |log: Log| move |_, partition| log.subscribe(partition);
        run_consumers(
            &mut consumers,
            PanicsOnce::default(),
            &log,
            &pool,
            (Duration::ZERO, Duration::ZERO),
            &listen(log.clone()),
            &shutdown,
        );
        tokio::time::timeout(TEST_TIMEOUT, comes_to_position_1(&log))
            .await
            .expect("it continues after the panic");
        shutdown.cancel();
        consumers.join_next().await.unwrap().unwrap();
    }
}
