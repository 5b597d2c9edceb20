//! Runs a consumer for each partition, and restarts those that panic.

use event_log::{Log, Partition, restart_on_panic};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Spawns a task for each partition: runs what `start` returns, with [`restart_on_panic`], until `shutdown`.
pub(crate) fn spawn_for_each_partition<F: Future<Output = ()> + Send + 'static>(
    tasks: &mut JoinSet<()>,
    consumer: &'static str,
    log: &Log,
    shutdown: &CancellationToken,
    start: impl Fn(Partition) -> F + Clone + Send + Sync + 'static,
) {
    for partition in log.partitions() {
        let (readiness, shutdown, start) =
            (log.readiness().clone(), shutdown.clone(), start.clone());
        tasks.spawn(async move {
            let start = move || start(partition);
            restart_on_panic(
                consumer,
                format!("partition {partition}"),
                &readiness,
                shutdown,
                start,
            )
            .await;
        });
    }
}
