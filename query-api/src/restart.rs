//! Tasks that read PostgreSQL for many readers, and must go on.

use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;

/// The rest before a task that panicked is started again.
const RESTART_DELAY: Duration = Duration::from_secs(1);

/// Runs what `start` starts, for ever. A panic is a bug, but no reason to leave all readers without what the task reads.
pub(crate) async fn restart_on_panic<F>(task: &'static str, start: impl Fn() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        if let Err(error) = AbortOnDropHandle::new(tokio::spawn(start())).await {
            metrics::counter!("moa_task_restarts_total", "task" => task).increment(1);
            tracing::error!(%error, "{task} panicked; it is started again");
        }
        tokio::time::sleep(RESTART_DELAY).await;
    }
}
