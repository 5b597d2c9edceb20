//! Background tasks that run as long as their handle lives.

use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;

/// The wait before a task that panicked is started again.
const RESTART_DELAY: Duration = Duration::from_secs(1);

/// Runs the task that `start` returns, and starts another when it panics, until the handle is dropped. A panic is a bug, but
/// no reason to stay without a connection or a queue for good; meanwhile consumers read the log.
pub(crate) fn spawn_supervised<F>(
    task: &'static str,
    start: impl Fn() -> F + Send + 'static,
) -> AbortOnDropHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    AbortOnDropHandle::new(tokio::spawn(async move {
        while let Err(error) = AbortOnDropHandle::new(tokio::spawn(start())).await {
            metrics::counter!("moa_task_restarts_total", "task" => task).increment(1);
            tracing::error!(task, %error, "a task panicked; it is started again");
            tokio::time::sleep(RESTART_DELAY).await;
        }
    }))
}
