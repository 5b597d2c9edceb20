//! Starts the private server again when it dies, and keeps its log short.

use std::time::Duration;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::cluster::Cluster;

/// How often it is looked whether the server is there.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Starts in a row after which Moa gives up: what kills a server so often is for people to mend.
const MAX_STARTS: u32 = 6;
/// The pause before the second start; it doubles with each.
const FIRST_BACKOFF_DELAY: Duration = Duration::from_secs(1);
/// A server that has run for so long was started well.
const STABLE_DURATION: Duration = Duration::from_secs(600);

/// Looks after a server.
#[derive(Debug)]
pub struct Supervisor {
    cluster: Cluster,
    starts: u32,
    started_at: Instant,
}

impl Supervisor {
    pub(super) fn of(cluster: &Cluster) -> Self {
        Self {
            cluster: cluster.clone(),
            starts: 0,
            started_at: Instant::now(),
        }
    }

    /// Starts the server whenever it is gone, until `shutdown`. Returns before that when it does not stay up.
    pub async fn run(mut self, shutdown: CancellationToken) {
        while shutdown
            .run_until_cancelled(sleep(CHECK_INTERVAL))
            .await
            .is_some()
        {
            self.cluster.shorten_log();
            if !self.cluster.is_gone().await {
                continue;
            }
            match shutdown.run_until_cancelled(self.start_again()).await {
                Some(true) => {}
                Some(false) => {
                    return tracing::error!(log = %self.cluster.log.display(), "the private PostgreSQL does not stay up: its log says why");
                }
                None => return,
            }
        }
    }

    /// Whether it may be tried again if it does not stay up.
    async fn start_again(&mut self) -> bool {
        if self.started_at.elapsed() >= STABLE_DURATION {
            self.starts = 0;
        }
        if self.starts == MAX_STARTS {
            return false;
        }
        tracing::error!("the private PostgreSQL is gone; it is started again");
        metrics::counter!("moa_task_restarts_total", "task" => "the private PostgreSQL")
            .increment(1);
        if self.starts > 0 {
            sleep(FIRST_BACKOFF_DELAY * 2_u32.pow(self.starts - 1)).await;
        }
        self.starts += 1;
        match self.cluster.start_again().await {
            Ok(()) => tracing::info!(starts = self.starts, "the private PostgreSQL runs again"),
            Err(error) => tracing::error!("{error:#}"),
        }
        self.started_at = Instant::now();
        true
    }
}
