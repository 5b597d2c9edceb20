//! Everything that runs, by the stage it stops in.

use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long each stage may take to stop by itself.
const STAGE: Duration = Duration::from_secs(5);

/// The tasks of a process.
pub(super) struct Stages {
    listeners: TaskTracker,
    settlement: TaskTracker,
    pub(super) desks: TaskTracker,
    way_out: TaskTracker,
    stop_listeners: CancellationToken,
    stop_settlement: CancellationToken,
    stop_way_out: CancellationToken,
}

impl Stages {
    pub(super) fn new() -> Self {
        Self {
            listeners: TaskTracker::new(),
            settlement: TaskTracker::new(),
            desks: TaskTracker::new(),
            way_out: TaskTracker::new(),
            stop_listeners: CancellationToken::new(),
            stop_settlement: CancellationToken::new(),
            stop_way_out: CancellationToken::new(),
        }
    }

    /// Serves until the listeners' stage stops.
    pub(super) fn listen<F>(&self, serving: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = std::io::Result<()>> + Send + 'static,
    {
        let serving = serving(self.stop_listeners.clone());
        self.listeners.spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "a listener ended");
            }
        });
    }

    /// Runs a part of settlement.
    pub(super) fn settle<F: Future<Output = ()> + Send + 'static>(&self, part: impl FnOnce(CancellationToken) -> F) {
        self.settlement.spawn(part(self.stop_settlement.clone()));
    }

    /// Runs a part of the way out: a consumer, the relay.
    pub(super) fn carry<F: Future<Output = ()> + Send + 'static>(&self, part: impl FnOnce(CancellationToken) -> F) {
        self.way_out.spawn(part(self.stop_way_out.clone()));
    }

    /// Stops stage after stage.
    pub(super) async fn stop(self) {
        self.stop_listeners.cancel();
        finish(&self.listeners, edge::SHUTDOWN_TIME_LIMIT + STAGE, "the listeners").await;
        self.stop_settlement.cancel();
        finish(&self.settlement, STAGE, "settlement").await;
        // The last who could order anything is gone, so the desks end when their queues are empty.
        finish(&self.desks, STAGE, "the desks").await;
        self.stop_way_out.cancel();
        finish(&self.way_out, STAGE, "the consumers").await;
    }
}

async fn finish(tasks: &TaskTracker, bound: Duration, who: &str) {
    tasks.close();
    if tokio::time::timeout(bound, tasks.wait()).await.is_err() {
        tracing::warn!("{who} did not stop in time; what is left is in the log and goes on at the next start");
    }
}
