//! The counters of a log in Redis.

use event_log::{Log, Partition, Position};
use redis::{Client, Commands, Connection};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::test_app::{TEST_TIMEOUT, TestApp};

/// Where Redis is looked for when `REDIS_URL` is not set.
const DEFAULT_URL: &str = "redis://127.0.0.1:6379";
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The counters of one log in a Redis; what it has of them goes with the value.
pub struct RedisCounters {
    pub client: Client,
    log: Log,
    database_id: String,
}

/// A partition's hash, whole, as it stood at one moment: its state's parts as fields that begin with `@`, and what is taken
/// of each product.
pub type Hash = BTreeMap<String, String>;

impl RedisCounters {
    pub fn of(app: &TestApp) -> Self {
        let url = std::env::var("REDIS_URL").unwrap_or_else(|_| DEFAULT_URL.into());
        Self::in_redis(Client::open(url).unwrap(), app)
    }

    pub fn in_redis(client: Client, app: &TestApp) -> Self {
        Self {
            client,
            log: app.log.clone(),
            database_id: app.database_id.clone(),
        }
    }

    pub fn connection(&self) -> Connection {
        self.client.get_connection().unwrap()
    }

    /// The key, spelled out as readers have it.
    pub fn key(&self, partition: Partition) -> String {
        format!(
            "moa:{{{}.{partition}}}:counters:2:{}",
            self.log.identity().log_id,
            self.database_id
        )
    }

    /// The hash as it is there.
    pub fn raw(&self, partition: Partition) -> Hash {
        self.connection().hgetall(self.key(partition)).unwrap()
    }

    /// The hash, in which every value must have its check; empty where there is none.
    pub fn hash(&self, partition: Partition) -> Hash {
        let raw = self.raw(partition);
        plain(&self.key(partition), &raw).unwrap_or_else(|| panic!("a check is wrong in {raw:?}"))
    }

    /// The same while somebody does harm to it: empty when a check is wrong.
    pub fn hash_if_good(&self, partition: Partition) -> Hash {
        let raw: redis::RedisResult<Hash> = self.connection().hgetall(self.key(partition));
        raw.ok()
            .and_then(|raw| plain(&self.key(partition), &raw))
            .unwrap_or_default()
    }

    pub fn delete(&self) {
        let keys: Vec<_> = self
            .log
            .partitions()
            .map(|partition| self.key(partition))
            .collect();
        let _: () = self.connection().del(keys).unwrap();
    }

    /// Sets a field by hand to a value with a good check, as who knows the format can.
    pub fn forge(&self, partition: Partition, field: &str, value: &str) {
        self.plant(
            partition,
            field,
            &checked(&self.key(partition), field, value),
        );
    }

    /// Sets one field by hand.
    pub fn plant(&self, partition: Partition, field: &str, value: &str) {
        let _: () = self
            .connection()
            .hset(self.key(partition), field, value)
            .unwrap();
    }

    /// Waits until the counters are at these positions; fails with the last ones.
    pub async fn until_at(&self, positions: &[Position]) {
        let expected: Vec<_> = positions.iter().copied().map(Some).collect();
        let start = Instant::now();
        loop {
            let stand = projector::counter_positions(&self.client, &self.log).await;
            if stand.as_ref().is_ok_and(|stand| *stand == expected) {
                return;
            }
            assert!(
                start.elapsed() < TEST_TIMEOUT,
                "the counters stand at {stand:?}, not {expected:?}"
            );
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Waits until a partition's hash is `good`; fails with what it was last.
    pub async fn until(&self, partition: Partition, good: impl Fn(&Hash) -> bool) {
        let start = Instant::now();
        while !good(&self.hash_if_good(partition)) {
            assert!(
                start.elapsed() < TEST_TIMEOUT,
                "the hash is {:?}",
                self.hash_if_good(partition)
            );
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

impl Drop for RedisCounters {
    fn drop(&mut self) {
        // Its server may be gone with all it had.
        if let Ok(mut connection) = self
            .client
            .get_connection_with_timeout(Duration::from_secs(1))
        {
            for partition in self.log.partitions() {
                redis::cmd("DEL")
                    .arg(self.key(partition))
                    .exec(&mut connection)
                    .ok();
            }
        }
    }
}

/// `value` with its check, spelled out as readers have it.
pub fn checked(key: &str, field: &str, value: &str) -> String {
    let digest = Sha256::digest(format!("{key}\n{field}\n{value}"));
    let check: String = digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{value}:{check}")
}

/// What a hash says, if every check in it is right.
pub fn plain(key: &str, raw: &Hash) -> Option<Hash> {
    let mut hash = Hash::new();
    for (field, text) in raw {
        let (value, _) = text.rsplit_once(':')?;
        if *text != checked(key, field, value) {
            return None;
        }
        if field == "@state" {
            let names = ["@position", "@products", "@hash", "@by"].map(str::to_owned);
            hash.extend(names.into_iter().zip(value.split(':').map(str::to_owned)));
        } else {
            hash.insert(field.clone(), value.rsplit_once(':')?.0.to_owned());
        }
    }
    Some(hash)
}
