//! What Redis shows of a log.

use event_log::{Identity, Log, Partition, Position};
use redis::{Client, Commands, Connection};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::world::PATIENCE;

/// Where Redis is looked for when `REDIS_URL` is not set.
const DEFAULT_URL: &str = "redis://127.0.0.1:6379";
const POLL: Duration = Duration::from_millis(5);

/// The counters of one log in a Redis; what it has of them goes with the value.
pub struct Shown {
    pub client: Client,
    log: Identity,
}

/// A partition's hash, whole, as it stood at one moment.
pub type Hash = BTreeMap<String, String>;

impl Shown {
    pub fn of(log: &Log) -> Self {
        let url = std::env::var("REDIS_URL").unwrap_or_else(|_| DEFAULT_URL.into());
        Self::in_redis(Client::open(url).unwrap(), log)
    }

    pub fn in_redis(client: Client, log: &Log) -> Self {
        Self { client, log: *log.identity() }
    }

    pub fn connection(&self) -> Connection {
        self.client.get_connection().unwrap()
    }

    /// The key, in the words that outsiders read.
    pub fn key(&self, partition: Partition) -> String {
        format!("moa:{{{}.{partition}}}:counters", self.log.log_id)
    }

    pub fn hash(&self, partition: Partition) -> Hash {
        self.connection().hgetall(self.key(partition)).unwrap()
    }

    pub fn delete(&self) {
        let keys: Vec<_> = (0..self.log.partitions).map(|partition| self.key(partition)).collect();
        let _: () = self.connection().del(keys).unwrap();
    }

    /// Sets one field by hand.
    pub fn plant(&self, partition: Partition, field: &str, value: &str) {
        let _: () = self.connection().hset(self.key(partition), field, value).unwrap();
    }

    /// Waits until the program says that its counters stand there; fails with what it said last.
    pub async fn until_at(&self, positions: &[Position]) {
        let expected: Vec<_> = positions.iter().copied().map(Some).collect();
        let start = Instant::now();
        loop {
            let stand = projector::counter_positions(&self.client, &self.log).await;
            if stand.as_ref().is_ok_and(|stand| *stand == expected) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "the counters stand at {stand:?}, not {expected:?}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until a partition's hash is `good`; fails with what it was last.
    pub async fn until(&self, partition: Partition, good: impl Fn(&Hash) -> bool) {
        let start = Instant::now();
        while !good(&self.hash(partition)) {
            assert!(start.elapsed() < PATIENCE, "the hash is {:?}", self.hash(partition));
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        // Its server may be gone with all it had.
        if let Ok(mut connection) = self.client.get_connection_with_timeout(Duration::from_secs(1)) {
            for partition in 0..self.log.partitions {
                redis::cmd("DEL").arg(self.key(partition)).exec(&mut connection).ok();
            }
        }
    }
}
