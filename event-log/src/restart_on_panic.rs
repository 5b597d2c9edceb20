//! Restarts a task that panicked, where that is safe: a task whose memory is built again from the log.

use crate::readiness::Readiness;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// The pause before the first restart, and the longest one; it doubles in between.
const RESTART_DELAY: Duration = Duration::from_secs(1);
const MAX_RESTART_DELAY: Duration = Duration::from_secs(60);
/// A task that has run for so long is stable: readiness recovers, and the next pause is short again.
const STABLE_DURATION: Duration = Duration::from_secs(10);

/// Runs the task that `start` creates, to its end; after a panic creates it again, with a growing pause, until `shutdown`.
///
/// A panic is a bug, but no reason to stop for good or to end other tasks. The clause `tasks` of `readiness` is failed from a panic
/// until the task has run for 10 s; `moa_task_restarts_total` counts. `who` tells this task from others of its kind.
pub async fn restart_on_panic<F: Future<Output = ()> + Send + 'static>(
    task: &'static str,
    who: String,
    readiness: &Readiness,
    shutdown: CancellationToken,
    start: impl Fn() -> F,
) {
    let (clause, mut pause) = (readiness.clause("tasks"), RESTART_DELAY);
    loop {
        let mut running = AbortOnDropHandle::new(tokio::spawn(start()));
        let ended = match tokio::time::timeout(STABLE_DURATION, &mut running).await {
            Ok(ended) => ended,
            Err(_) => {
                clause.clear();
                pause = RESTART_DELAY;
                running.await
            }
        };
        let Err(error) = ended else { return };
        metrics::counter!("moa_task_restarts_total", "task" => task).increment(1);
        tracing::error!(task, who, %error, "a task panicked; it is restarted");
        clause.fail(format_args!("{task} {who} panicked and is restarted"));
        if shutdown
            .run_until_cancelled(tokio::time::sleep(pause))
            .await
            .is_none()
        {
            return;
        }
        pause = (2 * pause).min(MAX_RESTART_DELAY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::time::Instant;

    /// A task that panics at each of its first `panics` starts, and then runs until it is told to stop.
    fn task(
        panics: u32,
        starts: &Arc<AtomicU32>,
        stop: &CancellationToken,
    ) -> impl Fn() -> futures::future::BoxFuture<'static, ()> {
        let (starts, stop) = (starts.clone(), stop.clone());
        move || {
            let (start, stop) = (starts.fetch_add(1, Ordering::Relaxed), stop.clone());
            Box::pin(async move {
                assert!(start >= panics, "a bug, in a test");
                stop.cancelled().await;
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_panics_is_started_anew_and_readiness_knows_until_it_has_run_for_a_while() {
        let (readiness, stop, starts) = (
            Readiness::default(),
            CancellationToken::new(),
            Arc::default(),
        );
        let start = task(3, &starts, &stop);
        let running =
            restart_on_panic("a test's task", "1".into(), &readiness, stop.clone(), start);
        let watching = async {
            while starts.load(Ordering::Relaxed) < 4 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            assert_eq!(readiness.failed(), ["tasks"]);
            tokio::time::sleep(STABLE_DURATION + Duration::from_millis(10)).await;
            assert!(readiness.failed().is_empty());
            stop.cancel();
        };
        tokio::join!(running, watching);
    }

    #[tokio::test(start_paused = true)]
    async fn who_panics_always_is_started_less_and_less_often() {
        let (readiness, stop, starts) = (
            Readiness::default(),
            CancellationToken::new(),
            Arc::default(),
        );
        let start = task(u32::MAX, &starts, &stop);
        let began = Instant::now();
        let running =
            restart_on_panic("a test's task", "1".into(), &readiness, stop.clone(), start);
        tokio::time::timeout(Duration::from_secs(600), running)
            .await
            .expect_err("it goes on");
        let started = starts.load(Ordering::Relaxed);
        assert!(
            (10..20).contains(&started),
            "{started} starts in {:?}",
            began.elapsed()
        );
    }
}
