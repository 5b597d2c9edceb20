//! The one connection to Redis that all partitions share. It is opened when it is needed, and again after any failure: the
//! redis crate's own manager keeps a connection whose replies time out, and never retries after a refused log-in.

use connection_pool::outage::REDIS;
use event_log::Partition;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, RedisResult};
use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long Redis may take to accept a connection, and to reply.
const REDIS_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(super) struct Connection {
    client: Client,
    open: Arc<tokio::sync::Mutex<Option<Open>>>,
    /// The partitions whose last request failed.
    affected: Arc<Mutex<BTreeSet<Partition>>>,
}

/// A connection, identified by when it was opened.
#[derive(Clone)]
struct Open {
    connection: MultiplexedConnection,
    made: Instant,
}

impl Connection {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            open: Arc::default(),
            affected: Arc::default(),
        }
    }

    /// Sends a request to Redis; after a failure the next request opens a new connection.
    pub(super) async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&mut MultiplexedConnection) -> RedisResult<T>,
    ) -> RedisResult<T> {
        let Open {
            mut connection,
            made,
        } = self.get().await?;
        let answer = question(&mut connection).await;
        match &answer {
            Ok(_) => REDIS.answered(),
            Err(_) => drop(self.open.lock().await.take_if(|open| open.made == made)),
        }
        answer
    }

    async fn get(&self) -> RedisResult<Open> {
        let mut open = self.open.lock().await;
        if let Some(open) = &*open {
            return Ok(open.clone());
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(REDIS_TIMEOUT))
            .set_response_timeout(Some(REDIS_TIMEOUT));
        let connection = self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        Ok(open
            .insert(Open {
                connection,
                made: Instant::now(),
            })
            .clone())
    }

    /// Logs that Redis is away, which the process does once, or that it refuses, when `partition` is the first to notice.
    pub(super) fn report_lost(&self, partition: Partition, error: &RedisError) {
        if error.is_io_error() {
            return REDIS.failed(&tls::explain(error).unwrap_or_else(|| error.to_string()));
        }
        let mut affected = self.affected();
        if affected.is_empty() {
            tracing::warn!(%error, "Redis refuses to be written; reads come from PostgreSQL until it can");
        }
        affected.insert(partition);
    }

    /// Logs that Redis is back, when `partition` is the last to recover.
    pub(super) fn report_recovered(&self, partition: Partition) {
        let mut affected = self.affected();
        if affected.remove(&partition) && affected.is_empty() {
            tracing::info!("Redis is written again");
        }
    }

    fn affected(&self) -> MutexGuard<'_, BTreeSet<Partition>> {
        self.affected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn timeout_error() -> RedisError {
    io::Error::from(io::ErrorKind::TimedOut).into()
}
