//! Reads the counters in Redis: the amount taken of each product. Only the projector writes them.
//!
//! Each partition has one hash, under `moa:{<log id>.<partition>}:counters:2:<database>`. Its fields: `@state`, with
//! `<position>:<list>:<event hash>:<by>:<check>`; and for every product of the partition its id, with
//! `<current amount>:<users>:<ended>:<position>:<check>`; ended is 0 while the product stands, 1 when it is closed, and 2 when it was
//! cancelled or has failed. The hash is the fold of the partition up to the state's
//! position. The list's position is where a product was last opened, or ended, or a later one. The event hash is that of the
//! log's event there, in hexadecimal digits. `by` is the last writer. A check is the first 8 bytes of the SHA-256 of
//! `<key>\n<field>\n<value without it>`, in hexadecimal digits.

use connection_pool::outage::REDIS;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, Pipeline, RedisError, RedisResult};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::Mutex;
use tokio::time::timeout;
use uuid::Uuid;

use super::REDIS_TIMEOUT;
use super::circuit_breaker::CircuitBreaker;

const STATE: &str = "@state";

/// The counter of one product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counter {
    pub(crate) current_amount: i64,
    pub(crate) invest_users: i64,
    pub(crate) standing: Standing,
    /// Its position when it was last written.
    position: i64,
}

/// Whether a product takes invests, apart from its window and its total.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Open,
    Closed,
    /// It was cancelled, or has failed.
    GivenBack,
}

impl Counter {
    /// Whether it is possible for a product with `total`: no more is taken than that, and every user has at least 1 won.
    pub(crate) fn is_within(&self, total: i64) -> bool {
        let users = 0..=self.current_amount;
        (0..=total).contains(&self.current_amount)
            && users.contains(&self.invest_users)
            && (self.current_amount > 0) == (self.invest_users > 0)
    }
}

/// The state of a partition's hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) position: i64,
    /// The position of the last change of its list of products.
    pub(super) listed: i64,
    /// The hash of the event at `position`; empty at 0.
    pub(super) event_hash: String,
    /// Its writer.
    pub(super) by: String,
}

/// The result of one round trip.
pub(super) struct CounterSnapshot {
    /// By partition.
    pub(super) states: Vec<State>,
    /// The requested products that exist.
    pub(super) counters: HashMap<i64, Counter>,
}

impl CounterSnapshot {
    /// The positions, by partition.
    pub(super) fn positions(&self) -> Vec<i64> {
        self.states.iter().map(|state| state.position).collect()
    }

    /// The positions of the last changes of the lists, by partition.
    pub(super) fn listed(&self) -> Vec<i64> {
        self.states.iter().map(|state| state.listed).collect()
    }
}

/// The counters of one log. Has one connection, opened when it is needed, and again after any failure.
pub(super) struct Counters {
    client: Client,
    log_id: Uuid,
    partitions: usize,
    /// By partition; empty until the database's id is known.
    keys: RwLock<Arc<[String]>>,
    open: Mutex<Option<MultiplexedConnection>>,
    circuit_breaker: CircuitBreaker,
}

impl Counters {
    pub(super) fn new(client: Client, log_id: Uuid, partitions: usize) -> Self {
        let (open, circuit_breaker) = (Mutex::default(), CircuitBreaker::default());
        Self {
            client,
            log_id,
            partitions,
            keys: RwLock::new(Arc::new([])),
            open,
            circuit_breaker,
        }
    }

    /// Reads the counters of this database from now on.
    pub(super) fn use_database(&self, database: &str) {
        let key = |partition| format!("moa:{{{}.{partition}}}:counters:2:{database}", self.log_id);
        let keys = (0..self.partitions).map(key).collect();
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    fn keys(&self) -> Arc<[String]> {
        self.keys
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The state of every partition, with the counters of `products`; `None` when a partition is missing or damaged.
    pub(super) async fn read(&self, products: &[i64]) -> Option<CounterSnapshot> {
        let keys = self.keys();
        let mut wanted: Vec<Vec<i64>> = vec![Vec::new(); keys.len()];
        for product in products {
            wanted.get_mut(self.partition_of(*product)?)?.push(*product);
        }
        let mut question = redis::pipe();
        for (key, products) in keys.iter().zip(&wanted) {
            question.cmd("HMGET").arg(key).arg(STATE).arg(products);
        }
        let answer: Vec<Vec<Option<String>>> = self.ask(&question).await?;
        let mut read = CounterSnapshot {
            states: Vec::new(),
            counters: HashMap::new(),
        };
        for ((key, fields), wanted) in keys.iter().zip(&answer).zip(&wanted) {
            let [state, counters @ ..] = fields.as_slice() else {
                return None;
            };
            let state = parse_state(key, state.as_ref()?)?;
            let found = wanted
                .iter()
                .zip(counters)
                .filter_map(|(id, counter)| Some((*id, counter.as_ref()?)));
            for (id, counter) in found {
                read.counters
                    .insert(id, parse(key, &id.to_string(), counter, &state)?);
            }
            read.states.push(state);
        }
        (read.states.len() == self.partitions).then_some(read)
    }

    /// The state of each partition, `None` where it is missing or damaged; `None` altogether when Redis does not reply.
    pub(super) async fn states(&self) -> Option<Vec<Option<State>>> {
        let keys = self.keys();
        let mut question = redis::pipe();
        for key in &*keys {
            question.cmd("HGET").arg(key).arg(STATE);
        }
        let texts: Vec<Option<String>> = self.ask(&question).await?;
        Some(
            keys.iter()
                .zip(texts)
                .map(|(key, text)| parse_state(key, &text?))
                .collect(),
        )
    }

    /// The state of a partition, and the products that are open.
    pub(super) async fn list(&self, partition: usize) -> Option<(State, Vec<i64>)> {
        let keys = self.keys();
        let key = keys.get(partition)?;
        let mut question = redis::pipe();
        question.cmd("HGETALL").arg(key);
        let (hash,): (HashMap<String, String>,) = self.ask(&question).await?;
        let state = parse_state(key, hash.get(STATE)?)?;
        let mut products = Vec::new();
        for (field, text) in hash.iter().filter(|(field, _)| !field.starts_with('@')) {
            if parse(key, field, text, &state)?.standing == Standing::Open {
                products.push(field.parse().ok()?);
            }
        }
        Some((state, products))
    }

    fn partition_of(&self, product: i64) -> Option<usize> {
        usize::try_from(product).ok()?.checked_rem(self.partitions)
    }

    /// Sends a request to Redis, unless the circuit breaker is open.
    async fn ask<T: FromRedisValue>(&self, question: &Pipeline) -> Option<T> {
        if question.is_empty() || !self.circuit_breaker.allows_request() {
            return None;
        }
        let answer = timeout(REDIS_TIMEOUT, async {
            question.query_async(&mut self.connection().await?).await
        });
        let failed = match answer.await {
            Ok(Ok(answer)) => {
                self.circuit_breaker.close();
                REDIS.answered();
                return Some(answer);
            }
            Ok(Err(error)) => error,
            Err(_) => io::Error::new(io::ErrorKind::TimedOut, "it did not answer in time").into(),
        };
        // When it is locked, another request is opening a new one already.
        if let Ok(mut open) = self.open.try_lock() {
            open.take();
        }
        self.report(&failed);
        None
    }

    /// Redis is away, which the process logs once, or refuses what was asked.
    fn report(&self, failed: &RedisError) {
        let is_new = self.circuit_breaker.open();
        if failed.is_io_error() {
            REDIS.failed(&tls::explain(failed).unwrap_or_else(|| failed.to_string()));
        } else if is_new {
            tracing::warn!(error = %failed, "Redis refuses to be read; reads come from PostgreSQL until it can");
        }
    }

    async fn connection(&self) -> RedisResult<MultiplexedConnection> {
        let mut open = self.open.lock().await;
        if let Some(connection) = &*open {
            return Ok(connection.clone());
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(REDIS_TIMEOUT))
            .set_response_timeout(Some(REDIS_TIMEOUT));
        let connection = self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        Ok(open.insert(connection).clone())
    }
}

/// The value in a field's text; `None` when the check does not match.
fn value_of<'a>(key: &str, field: &str, text: &'a str) -> Option<&'a str> {
    let (value, found) = text.rsplit_once(':')?;
    let digest = Sha256::digest(format!("{key}\n{field}\n{value}"));
    let check: String = digest
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    (found == check).then_some(value)
}

/// Parses a state.
fn parse_state(key: &str, text: &str) -> Option<State> {
    let parts: Vec<_> = value_of(key, STATE, text)?.split(':').collect();
    let [position, listed, event_hash, by] = parts.as_slice() else {
        return None;
    };
    let (position, listed) = (position.parse().ok()?, listed.parse().ok()?);
    Some(State {
        position,
        listed,
        event_hash: (*event_hash).into(),
        by: (*by).into(),
    })
}

/// Parses a counter; `None` also when it was written after `state`.
fn parse(key: &str, field: &str, text: &str, state: &State) -> Option<Counter> {
    let parts: Vec<_> = value_of(key, field, text)?.split(':').collect();
    let [current_amount, invest_users, ended, position] = parts.as_slice() else {
        return None;
    };
    let standing = match *ended {
        "0" => Standing::Open,
        "1" => Standing::Closed,
        "2" => Standing::GivenBack,
        _ => return None,
    };
    let (current_amount, invest_users) = (current_amount.parse().ok()?, invest_users.parse().ok()?);
    let counter = Counter {
        current_amount,
        invest_users,
        standing,
        position: position.parse().ok()?,
    };
    (counter.position <= state.position).then_some(counter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const KEY: &str = "moa:{log.0}:counters:2:7.5";

    fn state() -> State {
        State {
            position: 7,
            listed: 3,
            event_hash: "ab".into(),
            by: "me".into(),
        }
    }

    /// The same texts as in the projector's tests.
    #[test]
    fn texts_with_the_right_check_are_read() {
        assert_eq!(
            parse_state(KEY, "7:3:ab:me:ba711646fc6ec925"),
            Some(state())
        );
        let counter = Counter {
            current_amount: 300,
            invest_users: 2,
            standing: Standing::Open,
            position: 6,
        };
        assert_eq!(
            parse(KEY, "4", "300:2:0:6:a0d15d0a2eb1c8cb", &state()),
            Some(counter)
        );
    }

    #[rstest]
    #[case::of_another_product(KEY, "8", "300:2:0:6:a0d15d0a2eb1c8cb")]
    #[case::of_another_database("moa:{log.0}:counters:2:7.6", "4", "300:2:0:6:a0d15d0a2eb1c8cb")]
    #[case::changed(KEY, "4", "301:2:0:6:a0d15d0a2eb1c8cb")]
    #[case::cut(KEY, "4", "300:2:0:6")]
    #[case::of_format_1(KEY, "4", "300:2:0")]
    #[case::nothing(KEY, "4", "")]
    fn damaged_texts_are_not_read(#[case] key: &str, #[case] field: &str, #[case] text: &str) {
        assert_eq!(parse(key, field, text, &state()), None);
    }

    #[rstest]
    #[case::all(1_000, 3, true)]
    #[case::nothing(0, 0, true)]
    #[case::more_than_there_is(1_001, 3, false)]
    #[case::less_than_nothing(-1, 0, false)]
    #[case::more_users_than_won(2, 3, false)]
    #[case::somebody_with_nothing(0, 1, false)]
    #[case::something_of_nobody(5, 0, false)]
    fn a_counter_has_bounds(
        #[case] current_amount: i64,
        #[case] invest_users: i64,
        #[case] expected: bool,
    ) {
        let counter = Counter {
            current_amount,
            invest_users,
            standing: Standing::Open,
            position: 1,
        };
        assert_eq!(counter.is_within(1_000), expected);
    }
}
