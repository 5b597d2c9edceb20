//! All consumers of all partitions, from start to shutdown.

use connection_pool::Pool;
use event_log::consume::{Consumer, Projection, Source};
use event_log::{Log, Partition, Readiness, restarted};
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Keeps every read model up with `log` until `shutdown`: one consumer for each projection and partition. Rows and
/// checkpoints are in `pool`'s database; each consumer takes one connection while it applies a batch, none while idle.
/// `source` says where word of the log comes from, by consumer and partition, and is asked again when a consumer that
/// broke down is started anew; a consumer that it has none for is not run. Generations beside the live ones are kept up
/// from the log alone.
///
/// Returns when all have stopped, which takes a batch at most. Several instances may run side by side; dropping this
/// stops them where they are, and what was not committed is applied at the next start.
pub async fn run<S: Source + 'static>(
    log: Log,
    pool: Pool,
    source: impl Fn(&'static str, Partition) -> Option<S> + Clone + Send + Sync + 'static,
    shutdown: CancellationToken,
) {
    let mut consumers = JoinSet::new();
    macro_rules! follow {
        ($($model:ident),*) => { $(follow_all(&mut consumers, crate::$model, &log, &pool, &source, &shutdown);)* };
    }
    crate::read_models!(follow);
    consumers.spawn(crate::beside::keep_up(log, pool, shutdown));
    while consumers.join_next().await.is_some() {}
}

fn follow_all<P: Projection, S: Source + 'static>(
    consumers: &mut JoinSet<()>,
    projection: P,
    log: &Log,
    pool: &Pool,
    source: &(impl Fn(&'static str, Partition) -> Option<S> + Clone + Send + Sync + 'static),
    shutdown: &CancellationToken,
) {
    let projection = Arc::new(projection);
    for partition in log.partitions() {
        let readiness = log.readiness().clone();
        let (log, pool, projection) = (log.clone(), pool.clone(), projection.clone());
        let (source, stop) = (source.clone(), shutdown.clone());
        let start = move || {
            let consumer = Consumer::new(log.clone(), pool.clone(), projection.clone(), partition);
            let (source, stop) = (source(P::NAME, partition), stop.clone());
            async move {
                if let Some(source) = source {
                    consumer.run_with(source, stop).await;
                }
            }
        };
        consumers.spawn(keep_running(P::NAME, partition, readiness, shutdown.clone(), start));
    }
}

/// [`restarted`], for a consumer of one partition.
pub(crate) async fn keep_running<F: Future<Output = ()> + Send + 'static>(
    consumer: &'static str,
    partition: Partition,
    readiness: Readiness,
    shutdown: CancellationToken,
    start: impl Fn() -> F,
) {
    restarted(consumer, format!("partition {partition}"), &readiness, shutdown, start).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use connection_pool::Connection;
    use domain::ProductEvent;
    use event_log::consume::ApplyError;
    use event_log::{Batch, Metadata, NewEvent, RecordedEvent, Writer};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;
    use testbed::Database;

    /// Longer than one restart takes, by far.
    const PATIENCE: Duration = Duration::from_secs(20);

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
        let mut consumers = JoinSet::new();
        let listen = |log: Log| move |_, partition| log.listen(partition);
        follow_all(&mut consumers, PanicsOnce::default(), &log, &pool, &listen(log.clone()), &shutdown);
        tokio::time::timeout(PATIENCE, comes_to_position_1(&log)).await.expect("it goes on after the panic");
        shutdown.cancel();
        consumers.join_next().await.unwrap().unwrap();
    }
}
