//! Background tasks that run for as long as their handle lives.

use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;

/// The pause before a task that broke down is started anew.
const RESTART_DELAY: Duration = Duration::from_secs(1);

/// Runs what `start` begins, and begins it again when it panics, until the handle is dropped. A panic is a bug, but no
/// reason to be without a connection or a queue for good; until then the log is read.
pub(crate) fn kept_up<F>(task: &'static str, start: impl Fn() -> F + Send + 'static) -> AbortOnDropHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    AbortOnDropHandle::new(tokio::spawn(async move {
        while let Err(error) = AbortOnDropHandle::new(tokio::spawn(start())).await {
            metrics::counter!("moa_task_restarts_total", "task" => task).increment(1);
            tracing::error!(task, %error, "a task broke down; it is started anew");
            tokio::time::sleep(RESTART_DELAY).await;
        }
    }))
}
