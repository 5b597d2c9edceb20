//! The forks of a log's history, as far as a process knows them.

use crate::incarnation::{self, Forks, Incarnation};
use crate::{Log, LogError, RepeatedFault};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often a process that reads no heads looks for a new incarnation.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

impl Log {
    /// The incarnation that is written to, as far as this process knows: kept up to date by [`Log::poll_heads`] or
    /// [`Log::poll_incarnation`].
    pub fn incarnation(&self) -> watch::Receiver<Incarnation> {
        self.known_forks().incarnation()
    }

    /// Every fork that this process knows of.
    pub fn forks(&self) -> Arc<Forks> {
        self.known_forks().get()
    }

    /// Looks for a new incarnation until `shutdown`: for a process whose login may not read the log.
    pub async fn poll_incarnation(&self, shutdown: CancellationToken) {
        let mut fault = RepeatedFault::new("the log's incarnation cannot be read", "");
        while shutdown
            .run_until_cancelled(tokio::time::sleep(POLL_INTERVAL))
            .await
            .is_some()
        {
            match self.read_forks().await {
                Ok(_) => fault.recovered(),
                Err(error) => fault.failed(&error),
            }
        }
    }

    /// Every fork that the database knows of now. An event that was read before is of one of these incarnations.
    pub async fn read_forks(&self) -> Result<Arc<Forks>, LogError> {
        self.known_forks()
            .set(incarnation::forks(self.reads()).await?);
        Ok(self.forks())
    }
}
