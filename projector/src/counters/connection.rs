//! The one connection to Redis that all partitions share. Made when it is needed, and anew after any failure: the
//! crate's own manager keeps a connection whose answers time out, and never tries again after a refused log-in.

use event_log::Partition;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, RedisResult};
use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a connection may take to be made, and Redis to answer on it.
const TIME_LIMIT: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(super) struct Connection {
    client: Client,
    open: Arc<tokio::sync::Mutex<Option<Open>>>,
    /// The partitions that cannot do without it now.
    ailing: Arc<Mutex<BTreeSet<Partition>>>,
}

/// A connection, and when it was made, which tells it from the next.
#[derive(Clone)]
struct Open {
    connection: MultiplexedConnection,
    made: Instant,
}

impl Connection {
    pub(super) fn new(client: Client) -> Self {
        Self { client, open: Arc::default(), ailing: Arc::default() }
    }

    /// Asks Redis; after a failure the next one who asks gets a connection that is new.
    pub(super) async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&mut MultiplexedConnection) -> RedisResult<T>,
    ) -> RedisResult<T> {
        let Open { mut connection, made } = self.get().await?;
        let answer = question(&mut connection).await;
        if answer.is_err() {
            self.open.lock().await.take_if(|open| open.made == made);
        }
        answer
    }

    async fn get(&self) -> RedisResult<Open> {
        let mut open = self.open.lock().await;
        if let Some(open) = &*open {
            return Ok(open.clone());
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(TIME_LIMIT))
            .set_response_timeout(Some(TIME_LIMIT));
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        Ok(open.insert(Open { connection, made: Instant::now() }).clone())
    }

    /// Says that Redis is lost when `partition` is the first to find out.
    pub(super) fn is_lost_to(&self, partition: Partition, error: &RedisError) {
        let mut ailing = self.ailing();
        if ailing.is_empty() {
            tracing::warn!(%error, "Redis cannot be written; reads come from PostgreSQL until it can");
        }
        ailing.insert(partition);
    }

    /// Says that Redis is back when `partition` was the last that could do without it.
    pub(super) fn is_there_for(&self, partition: Partition) {
        let mut ailing = self.ailing();
        if ailing.remove(&partition) && ailing.is_empty() {
            tracing::info!("Redis is written again");
        }
    }

    fn ailing(&self) -> MutexGuard<'_, BTreeSet<Partition>> {
        self.ailing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn too_late() -> RedisError {
    io::Error::from(io::ErrorKind::TimedOut).into()
}
