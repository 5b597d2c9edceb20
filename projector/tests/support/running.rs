//! What runs in a process of the projector.

use super::{RedisCounters, TestApp, listening};
use connection_pool::Pool;
use event_log::consume::EventSource;
use event_log::{Log, Partition};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The background tasks of a test: stopped and awaited at its end.
pub struct Running {
    tasks: JoinSet<()>,
    shutdown: CancellationToken,
}

impl Running {
    /// Polls the log, without consumers.
    pub fn alone(log: &Log) -> Self {
        let mut running = Self {
            tasks: JoinSet::new(),
            shutdown: CancellationToken::new(),
        };
        let (log, stop) = (log.clone(), running.shutdown.clone());
        running
            .tasks
            .spawn(async move { log.poll_heads(stop).await });
        running
    }

    /// The read models, and counters in the Redis of `redis`.
    pub fn all(app: &TestApp, redis: &RedisCounters) -> Self {
        Self::read_models(&app.log, &app.pool).with_counters(app, &redis.client)
    }

    /// The read models.
    pub fn read_models(log: &Log, pool: &Pool) -> Self {
        Self::alone(log).with_read_models(log, pool)
    }

    pub fn with_read_models(mut self, log: &Log, pool: &Pool) -> Self {
        self.tasks.spawn(projector::run(
            log.clone(),
            pool.clone(),
            Default::default(),
            listening(log),
            self.shutdown.clone(),
        ));
        self
    }

    pub fn with_counters(self, app: &TestApp, redis: &redis::Client) -> Self {
        self.with_counters_from(app, redis, listening(&app.log))
    }

    pub fn with_counters_from<S: EventSource + 'static>(
        mut self,
        app: &TestApp,
        redis: &redis::Client,
        source: impl Fn(&'static str, Partition) -> Option<S> + Clone + Send + Sync + 'static,
    ) -> Self {
        let (log, pool) = (app.log.clone(), app.pool.clone());
        self.tasks.spawn(projector::run_counters(
            log,
            pool,
            redis.clone(),
            source,
            self.shutdown.clone(),
        ));
        self
    }

    /// Stops everything, which must be fast.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        let stopped = async {
            while let Some(ended) = self.tasks.join_next().await {
                ended.unwrap()
            }
        };
        tokio::time::timeout(Duration::from_secs(5), stopped)
            .await
            .expect("stops at shutdown");
    }
}
