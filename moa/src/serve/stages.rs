//! The tasks of a process, by the stage in which they stop; a task that ends early stops the process.
//!
//! Every task runs until the process stops. One that panics or ends before that leaves the process half alive: it would answer,
//! and something would never make progress again. So the process stops in order and exits with an error, and its supervisor
//! starts it again: everything in memory is rebuilt from the log. Tasks that are safe to restart by themselves, such as the
//! consumers of read models, are restarted where they run (`event_log::restart_on_panic`), so that one bad event does not stop the
//! rest of the process.

use crate::ops::Ops;
use event_log::Clause;
use futures::FutureExt as _;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long each stage may take to stop.
const STAGE_STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// The tasks of a process.
pub(super) struct Stages {
    listeners: TaskTracker,
    settlement: TaskTracker,
    pub(super) processors: TaskTracker,
    consumers: TaskTracker,
    stop_listeners: CancellationToken,
    stop_settlement: CancellationToken,
    stop_consumers: CancellationToken,
    watch: Watch,
    broken: watch::Receiver<Option<&'static str>>,
}

/// Notices a task that ends too early.
#[derive(Clone)]
struct Watch {
    /// From here on parts may end.
    stopping: CancellationToken,
    /// The first part that ended too early.
    broken: watch::Sender<Option<&'static str>>,
    clause: Arc<Clause>,
}

impl Stages {
    /// The upkeep of `ops` alone; its clause `process` is failed when a part ends too early.
    pub(super) fn of(ops: &Ops) -> Self {
        let stages = Self::new(ops.clause("process"));
        stages.spawn_consumer("the upkeep of the metrics", |shutdown| {
            ops.clone().keep_up(shutdown)
        });
        stages
    }

    fn new(clause: Clause) -> Self {
        let (sender, broken) = watch::channel(None);
        Self {
            listeners: TaskTracker::new(),
            settlement: TaskTracker::new(),
            processors: TaskTracker::new(),
            consumers: TaskTracker::new(),
            stop_listeners: CancellationToken::new(),
            stop_settlement: CancellationToken::new(),
            stop_consumers: CancellationToken::new(),
            watch: Watch {
                stopping: CancellationToken::new(),
                broken: sender,
                clause: Arc::new(clause),
            },
            broken,
        }
    }

    /// Serves until the listeners' stage stops.
    pub(super) fn spawn_listener<F>(&self, serving: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = std::io::Result<()>> + Send + 'static,
    {
        let serving = serving(self.stop_listeners.clone());
        let serving = async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "a listener ended");
            }
        };
        self.listeners
            .spawn(self.watch.clone().over("a listener", serving));
    }

    /// Runs a part of settlement.
    pub(super) fn spawn_settlement<F>(
        &self,
        part: &'static str,
        run: impl FnOnce(CancellationToken) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        self.settlement.spawn(
            self.watch
                .clone()
                .over(part, run(self.stop_settlement.clone())),
        );
    }

    /// Runs a consumer, the relay, or another task that stops with them.
    pub(super) fn spawn_consumer<F>(
        &self,
        part: &'static str,
        run: impl FnOnce(CancellationToken) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        self.consumers.spawn(
            self.watch
                .clone()
                .over(part, run(self.stop_consumers.clone())),
        );
    }

    /// The same for a part that runs elsewhere, and cancels `ended` when it ends too early.
    pub(super) fn watch(&self, part: &'static str, ended: CancellationToken) {
        let watching = self.watch.clone();
        let stopping = watching.stopping.clone();
        self.consumers.spawn(async move {
            tokio::select! {
                () = ended.cancelled() => watching.tell(part),
                () = stopping.cancelled() => {}
            }
        });
    }

    /// Returns when a task ended that was not stopped.
    pub(super) async fn broken(&mut self) {
        // The sender is ours, so it is not gone.
        self.broken.wait_for(Option::is_some).await.ok();
    }

    /// Stops stage after stage. An error when a part had ended before, or panics now.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.watch.stopping.cancel();
        self.stop_listeners.cancel();
        finish(
            &self.listeners,
            edge::SHUTDOWN_TIMEOUT + STAGE_STOP_TIMEOUT,
            "the listeners",
        )
        .await;
        self.stop_settlement.cancel();
        finish(&self.settlement, STAGE_STOP_TIMEOUT, "settlement").await;
        // No sender of commands is left, so the partition processors end when their queues are empty.
        finish(&self.processors, STAGE_STOP_TIMEOUT, "the processors").await;
        self.stop_consumers.cancel();
        finish(&self.consumers, STAGE_STOP_TIMEOUT, "the consumers").await;
        match *self.broken.borrow() {
            Some(part) => {
                anyhow::bail!("{part} ended by itself, so this process stopped: start it again")
            }
            None => Ok(()),
        }
    }
}

impl Watch {
    async fn over(self, part: &'static str, run: impl Future<Output = ()>) {
        // What a panic leaves half done is dropped with the process.
        let ended = AssertUnwindSafe(run).catch_unwind().await;
        if ended.is_err() || !self.stopping.is_cancelled() {
            self.tell(part);
        }
    }

    fn tell(&self, part: &'static str) {
        tracing::error!(
            part,
            "a part of this process ended that should run as long as it does"
        );
        self.clause.fail(format_args!("{part} ended"));
        self.broken
            .send_if_modified(|broken| broken.is_none() && broken.replace(part).is_none());
    }
}

async fn finish(tasks: &TaskTracker, bound: Duration, who: &str) {
    tasks.close();
    if tokio::time::timeout(bound, tasks.wait()).await.is_err() {
        tracing::warn!(
            "{who} did not stop in time; what is left is in the log and goes on at the next start"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use event_log::Readiness;
    use rstest::rstest;

    const TEST_TIMEOUT: Duration = Duration::from_secs(10);

    fn stages(readiness: &Readiness) -> Stages {
        Stages::new(readiness.clause("process"))
    }

    async fn ends(part: &'static str) {
        assert!(!part.contains("panics"), "a bug, in a test");
    }

    /// In whichever stage it runs.
    #[rstest]
    #[case::panics_in_settlement(|stages: &Stages| stages.spawn_settlement("it", |_| ends("panics")))]
    #[case::ends_in_settlement(|stages: &Stages| stages.spawn_settlement("it", |_| ends("")))]
    #[case::panics_among_the_consumers(|stages: &Stages| stages.spawn_consumer("it", |_| ends("panics")))]
    #[case::ends_among_the_consumers(|stages: &Stages| stages.spawn_consumer("it", |_| ends("")))]
    #[case::is_a_listener(|stages: &Stages| stages.spawn_listener(async |_| Err(std::io::ErrorKind::Other.into())))]
    #[case::runs_elsewhere(|stages: &Stages| {
        let ended = CancellationToken::new();
        stages.watch("it", ended.clone());
        ended.cancel();
    })]
    #[tokio::test]
    async fn a_part_that_ends_too_early_ends_the_process_with_an_error(#[case] run: fn(&Stages)) {
        let readiness = Readiness::default();
        let mut stages = stages(&readiness);
        stages.spawn_consumer("another", |stop| async move { stop.cancelled().await });
        assert!(readiness.failed().is_empty());
        run(&stages);
        tokio::time::timeout(TEST_TIMEOUT, stages.broken())
            .await
            .unwrap();
        assert_eq!(readiness.failed(), ["process"]);
        let ended = tokio::time::timeout(TEST_TIMEOUT, stages.stop())
            .await
            .unwrap();
        assert!(ended.unwrap_err().to_string().contains("ended by itself"));
    }

    #[tokio::test]
    async fn parts_that_end_when_they_are_told_to_are_no_news() {
        let readiness = Readiness::default();
        let stages = stages(&readiness);
        let told_to = |stop: CancellationToken| async move { stop.cancelled().await };
        stages.spawn_settlement("one", told_to);
        stages.spawn_consumer("two", told_to);
        stages.watch("three", CancellationToken::new());
        tokio::time::timeout(TEST_TIMEOUT, stages.stop())
            .await
            .unwrap()
            .unwrap();
        assert!(readiness.failed().is_empty());
    }

    #[tokio::test]
    async fn a_part_that_panics_while_it_stops_is_an_error_too() {
        let stages = stages(&Readiness::default());
        stages.spawn_consumer("it", |stop| async move {
            stop.cancelled().await;
            ends("panics").await;
        });
        assert!(
            tokio::time::timeout(TEST_TIMEOUT, stages.stop())
                .await
                .unwrap()
                .is_err()
        );
    }
}
