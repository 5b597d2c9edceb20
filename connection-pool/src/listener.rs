//! Listens to notifications on a connection of its own.

use crate::Pool;
use sqlx::postgres::{PgListener, PgPoolOptions};
use sqlx::{Error, Result};
use std::io::ErrorKind;
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::time::timeout;

/// A connection on which nothing was heard for so long is asked whether it is still there.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);

/// Hears what is notified on one channel.
pub struct Listener {
    /// `None` once it is lost.
    inner: Option<PgListener>,
    answer_timeout: Duration,
}

impl Pool {
    /// Listens to `channel`, over a connection of its own beside the pool's, made like them.
    ///
    /// # Errors
    /// When the server cannot be reached, does not answer in time, or refuses, as a standby does.
    pub async fn listen(&self, channel: &str) -> Result<Listener> {
        let one = PgPoolOptions::new()
            .max_connections(1)
            .connect_lazy_with((*self.inner().connect_options()).clone());
        let answer_timeout = self.answer_timeout();
        let inner = bounded(answer_timeout, PgListener::connect_with(&one)).await?;
        let mut listener = Listener {
            inner: Some(inner),
            answer_timeout,
        };
        listener.begin(channel).await?;
        Ok(listener)
    }
}

impl Listener {
    async fn begin(&mut self, channel: &str) -> Result<()> {
        let inner = self.inner.as_mut().ok_or_else(lost)?;
        let begun = bounded(self.answer_timeout, inner.listen(channel)).await;
        self.unless_lost(begun)
    }

    /// Waits for the next notification, and returns its payload. A connection that has fallen silent is noticed within 10 s and the
    /// pool's bound for an answer. Cancelled, it has lost nothing.
    ///
    /// # Errors
    /// The connection is lost, and what was notified since: listen again.
    pub async fn next(&mut self) -> Result<String> {
        loop {
            let inner = self.inner.as_mut().ok_or_else(lost)?;
            match timeout(PROBE_INTERVAL, inner.try_recv()).await {
                Ok(Ok(Some(notification))) => return Ok(notification.payload().to_owned()),
                Ok(Ok(None)) => return self.unless_lost(Err(lost())),
                Ok(Err(error)) => return self.unless_lost(Err(error)),
                Err(_) => {
                    let probe = sqlx::query("select 1").execute(inner);
                    let probed = bounded(self.answer_timeout, probe).await;
                    self.unless_lost(probed)?;
                }
            }
        }
    }

    fn unless_lost<T>(&mut self, answer: Result<T>) -> Result<T> {
        if answer.is_err() {
            self.hang_up();
        }
        answer
    }

    /// Closes the connection, even a silent one. Dropped, a listener of sqlx spawns a task that asks its connection to unlisten and waits for the
    /// answer, without a bound. Here that task gets a runtime that ends at once, and the connection with it.
    fn hang_up(&mut self) {
        if let Some(inner) = self.inner.take()
            && let Ok(runtime) = Builder::new_current_thread().build()
        {
            let entered = runtime.enter();
            drop(inner);
            drop(entered);
            runtime.shutdown_background();
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.hang_up();
    }
}

async fn bounded<T>(bound: Duration, call: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(bound, call)
        .await
        .unwrap_or_else(|_| Err(Error::Io(ErrorKind::TimedOut.into())))
}

fn lost() -> Error {
    Error::Io(ErrorKind::ConnectionReset.into())
}
