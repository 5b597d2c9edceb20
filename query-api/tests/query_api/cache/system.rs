//! Read models, and counters in Redis, to read from.

use crate::read_side::{PARTITIONS, ReadSide, settings};
use edge::{ConsistencyToken, LogIncarnation};
use query_api::Settings;
use redis::{Client, Commands};
use sha2::{Digest, Sha256};
use std::time::{Duration, Instant};
use testbed::http::Answer;
use uuid::Uuid;

pub const OPEN: (&str, &str) = ("-1 day", "1 day");
/// Far longer than anything takes that a test waits for.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Redis is filled from PostgreSQL, so answers of one of them are marked by this amount.
const MARK: i64 = 1_000_000;
/// The writer of the counters.
pub const WRITER: &str = "0192d3a0-0000-7000-8000-00000000000a";
/// The event at each position of the log, as far as the views may know it: its hash is that of its place.
const EVENTS: &str = "
    create or replace function moa_event_hash(of_partition integer, at_position bigint) returns bytea language sql as $$
        select sha256(convert_to(of_partition || '.' || at_position, 'UTF8')) where at_position > 0
    $$";

/// Read models, and counters in Redis, of a log of this test's own; what Redis has of them goes with the value.
pub struct CachedSystem {
    /// Reads from Redis when it can.
    pub cached: ReadSide,
    /// Reads from PostgreSQL.
    pub plain: ReadSide,
    pub client: Client,
    pub log_id: Uuid,
    database_id: String,
}

impl CachedSystem {
    pub async fn new() -> Self {
        let url = std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".into());
        Self::in_redis(Client::open(url).unwrap()).await
    }

    pub async fn in_redis(client: Client) -> Self {
        let (plain, log_id) = (ReadSide::new().await, Uuid::now_v7());
        let of_this_log = Settings {
            log_id,
            ..settings(plain.pool.clone())
        };
        let cached = plain.with_settings(Settings {
            redis: Some(client.clone()),
            ..of_this_log.clone()
        });
        let plain = plain.again(of_this_log);
        plain.sql(EVENTS).await;
        let database_id = sqlx::query_scalar("select moa_database_id()")
            .fetch_one(&plain.pool)
            .await
            .unwrap();
        Self {
            cached,
            plain,
            client,
            log_id,
            database_id,
        }
    }

    /// A system with four products, one in each partition, at these positions; Redis has what PostgreSQL has.
    pub async fn of_four() -> Self {
        let system = Self::new().await;
        system.seed().await;
        system
    }

    /// The same, and PostgreSQL is marked.
    pub async fn marked() -> Self {
        let system = Self::of_four().await;
        system.mark_postgres().await;
        system
    }

    pub async fn seed(&self) {
        for (product_id, position) in [(1, 11), (2, 12), (3, 13), (4, 10)] {
            self.plain
                .product(product_id, 1_000, 100 * product_id, OPEN)
                .await;
            self.plain
                .checkpoint("product_list", partition_of(product_id), position)
                .await;
        }
        self.fill().await;
    }

    pub fn key(&self, partition: i32) -> String {
        format!(
            "moa:{{{}.{partition}}}:counters:2:{}",
            self.log_id, self.database_id
        )
    }

    pub fn token(&self, positions: [i64; PARTITIONS]) -> String {
        ConsistencyToken::new(LogIncarnation::first(self.log_id), positions.to_vec()).to_string()
    }

    /// Writes a field with its check: a counter, or a part of the state, of the log's event then.
    pub fn set(&self, partition: i32, field: &str, value: impl ToString) {
        let value = value.to_string();
        if !field.starts_with('@') {
            return self.forge(partition, field, &format!("{value}:0"));
        }
        let state: Option<String> = self
            .client
            .get_connection()
            .unwrap()
            .hget(self.key(partition), "@state")
            .unwrap();
        let state = state.unwrap_or_default();
        let mut parts = state.split(':').map(|part| part.parse().unwrap_or(0));
        let (mut position, mut listed) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
        *(if field == "@position" {
            &mut position
        } else {
            &mut listed
        }) = value.parse().unwrap();
        self.forge(partition, "@state", &state_of(partition, position, listed));
    }

    /// Writes any value into a field, with its check.
    pub fn forge(&self, partition: i32, field: &str, value: &str) {
        self.plant(
            partition,
            field,
            &checked(&self.key(partition), field, value),
        );
    }

    /// Writes any text into a field.
    pub fn plant(&self, partition: i32, field: &str, text: &str) {
        let _: () = self
            .client
            .get_connection()
            .unwrap()
            .hset(self.key(partition), field, text)
            .unwrap();
    }

    pub fn text(&self, partition: i32, field: &str) -> String {
        self.client
            .get_connection()
            .unwrap()
            .hget(self.key(partition), field)
            .unwrap()
    }

    pub fn unset(&self, partition: i32, field: &str) {
        let _: () = self
            .client
            .get_connection()
            .unwrap()
            .hdel(self.key(partition), field)
            .unwrap();
    }

    pub fn delete(&self, partition: i32) {
        let _: () = self
            .client
            .get_connection()
            .unwrap()
            .del(self.key(partition))
            .unwrap();
    }

    /// Writes to Redis what PostgreSQL says now, as the projector would when it loads everything.
    pub async fn fill(&self) {
        for partition in 0..PARTITIONS as i32 {
            self.fill_partition(partition).await;
        }
    }

    pub async fn fill_partition(&self, partition: i32) {
        let rows: Vec<(i64, Option<i64>, Option<String>)> = sqlx::query_as(
            "select coalesce(position, 0), product_id,
                    concat(current_amount, ':', invest_users, ':',
                           case when failed or cancel_reason is not null then 2 else closed::int end)
               from (values (1)) as one
               left join checkpoints on consumer = 'product_list' and partition = $1
               left join product_list on product_id % $2 = $1",
        )
        .bind(partition)
        .bind(PARTITIONS as i32)
        .fetch_all(&self.plain.pool)
        .await
        .unwrap();
        let (key, position) = (self.key(partition), rows[0].0);
        let mut fields = vec![(
            "@state".to_owned(),
            checked(&key, "@state", &state_of(partition, position, position)),
        )];
        let counters = rows
            .into_iter()
            .filter_map(|(_, id, counter)| Some((id?.to_string(), counter?)));
        fields.extend(counters.map(|(id, counter)| {
            let text = checked(&key, &id, &format!("{counter}:{position}"));
            (id, text)
        }));
        let mut whole = redis::pipe();
        whole
            .atomic()
            .del(self.key(partition))
            .hset_multiple(self.key(partition), &fields);
        whole
            .exec(&mut self.client.get_connection().unwrap())
            .unwrap();
    }

    /// From now on PostgreSQL says that more is taken of every product, at the same positions: who reads it is found out.
    pub async fn mark_postgres(&self) {
        self.plain
            .sql(&format!(
                "update product_list set current_amount = current_amount + {MARK}"
            ))
            .await;
    }

    /// Waits until this comes from Redis, or from PostgreSQL; what it says then. PostgreSQL is marked.
    pub async fn until_from(&self, from: From, path: &str) -> Answer {
        let start = Instant::now();
        loop {
            let answer = self.cached.get(path).await;
            if answer.from() == from {
                return answer;
            }
            assert!(
                start.elapsed() < TEST_TIMEOUT,
                "{path} is not shown from {from:?} but {}",
                answer.body
            );
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

impl Drop for CachedSystem {
    fn drop(&mut self) {
        // Its server may be gone with all it had.
        if let Ok(mut redis) = self
            .client
            .get_connection_with_timeout(Duration::from_secs(1))
        {
            for partition in 0..PARTITIONS as i32 {
                redis::cmd("DEL")
                    .arg(self.key(partition))
                    .exec(&mut redis)
                    .ok();
            }
        }
    }
}

/// A state, in the words that the projector writes.
pub fn state_of(partition: i32, position: i64, listed: i64) -> String {
    let hash = if position > 0 {
        digits(&Sha256::digest(format!("{partition}.{position}")))
    } else {
        String::new()
    };
    format!("{position}:{listed}:{hash}:{WRITER}")
}

/// `value` with its check, in the words that the projector writes.
pub fn checked(key: &str, field: &str, value: &str) -> String {
    format!(
        "{value}:{}",
        digits(&Sha256::digest(format!("{key}\n{field}\n{value}"))[..8])
    )
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn partition_of(product_id: i64) -> i32 {
    (product_id % PARTITIONS as i64) as i32
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    Redis,
    Postgres,
}

/// Where an answer comes from, when PostgreSQL is marked and Redis is not.
pub trait ComesFrom {
    fn from(&self) -> From;
}

impl ComesFrom for Answer {
    fn from(&self) -> From {
        assert_eq!(self.status, 200, "{}", self.body);
        let body = self.json();
        let first = if body["data"]["list"].is_array() {
            &body["data"]["list"][0]
        } else {
            &body["data"]
        };
        let taken = first["currentInvestingAmount"].as_i64().expect("a product");
        if taken >= MARK {
            From::Postgres
        } else {
            From::Redis
        }
    }
}
