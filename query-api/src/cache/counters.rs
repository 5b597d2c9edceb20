//! What is taken of each product, in Redis. Nothing is written here; the projector keeps it.
//!
//! One hash for each partition, under `moa:{<log id>.<partition>}:counters`. Its fields: `@position`, up to which it is
//! the fold of the partition; `@products`, the position at which a product was last opened or closed, or a later one;
//! and for every product of the partition its id, with `<current amount>:<users>:<closed, 0 or 1>`.

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, Pipeline, RedisResult};
use std::collections::HashMap;
use tokio::sync::Mutex;
use tokio::time::timeout;
use uuid::Uuid;

use super::PATIENCE;
use super::breaker::Breaker;

const POSITION: &str = "@position";
const PRODUCTS: &str = "@products";

/// What is taken of one product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counter {
    pub(crate) current_amount: i64,
    pub(crate) invest_users: i64,
    pub(crate) closed: bool,
}

/// What one round trip showed.
pub(super) struct Read {
    /// By partition: where it stands.
    pub(super) positions: Vec<i64>,
    /// By partition: where its list of products changed last.
    pub(super) products: Vec<i64>,
    /// Of those products that were asked for and are there.
    pub(super) counters: HashMap<i64, Counter>,
}

/// The counters of one log. One connection, made when it is needed, and anew after any failure.
pub(super) struct Counters {
    client: Client,
    keys: Vec<String>,
    open: Mutex<Option<MultiplexedConnection>>,
    breaker: Breaker,
}

impl Counters {
    pub(super) fn new(client: Client, log_id: Uuid, partitions: usize) -> Self {
        let keys = (0..partitions).map(|partition| format!("moa:{{{log_id}.{partition}}}:counters")).collect();
        Self { client, keys, open: Mutex::default(), breaker: Breaker::default() }
    }

    /// Where every partition stands, with the counters of `products`; `None` when not every partition is there.
    pub(super) async fn read(&self, products: &[i64]) -> Option<Read> {
        let mut wanted: Vec<Vec<i64>> = vec![Vec::new(); self.keys.len()];
        for product in products {
            wanted.get_mut(self.partition_of(*product)?)?.push(*product);
        }
        let mut question = redis::pipe();
        for (key, products) in self.keys.iter().zip(&wanted) {
            question.cmd("HMGET").arg(key).arg(POSITION).arg(PRODUCTS).arg(products);
        }
        let answer: Vec<Vec<Option<String>>> = self.ask(&question).await?;
        let mut read = Read { positions: Vec::new(), products: Vec::new(), counters: HashMap::new() };
        for (fields, wanted) in answer.iter().zip(&wanted) {
            let [position, products, counters @ ..] = fields.as_slice() else { return None };
            read.positions.push(position.as_ref()?.parse().ok()?);
            read.products.push(products.as_ref()?.parse().ok()?);
            let found = wanted.iter().zip(counters).filter_map(|(id, counter)| Some((*id, counter.as_ref()?)));
            for (id, counter) in found {
                read.counters.insert(id, parse(counter)?);
            }
        }
        (read.positions.len() == self.keys.len()).then_some(read)
    }

    /// Where a partition's list of products changed last, and which of them are not closed.
    pub(super) async fn list(&self, partition: usize) -> Option<(i64, Vec<i64>)> {
        let mut question = redis::pipe();
        question.cmd("HGETALL").arg(self.keys.get(partition)?);
        let (hash,): (HashMap<String, String>,) = self.ask(&question).await?;
        let changed_at = hash.get(PRODUCTS)?.parse().ok()?;
        let mut products = Vec::new();
        for (field, value) in hash.iter().filter(|(field, _)| !field.starts_with('@')) {
            if !parse(value)?.closed {
                products.push(field.parse().ok()?);
            }
        }
        Some((changed_at, products))
    }

    fn partition_of(&self, product: i64) -> Option<usize> {
        usize::try_from(product).ok()?.checked_rem(self.keys.len())
    }

    /// Asks Redis, unless it is left alone.
    async fn ask<T: FromRedisValue>(&self, question: &Pipeline) -> Option<T> {
        if !self.breaker.lets_through() {
            return None;
        }
        let answer = timeout(PATIENCE, async { question.query_async(&mut self.connection().await?).await });
        let failed = match answer.await {
            Ok(Ok(answer)) => {
                self.breaker.close();
                return Some(answer);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("it did not answer within {PATIENCE:?}"),
        };
        // Where it is taken, another is making a new one already.
        if let Ok(mut open) = self.open.try_lock() {
            open.take();
        }
        self.breaker.open(&failed);
        None
    }

    async fn connection(&self) -> RedisResult<MultiplexedConnection> {
        let mut open = self.open.lock().await;
        if let Some(connection) = &*open {
            return Ok(connection.clone());
        }
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(PATIENCE)).set_response_timeout(Some(PATIENCE));
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        Ok(open.insert(connection).clone())
    }
}

/// A counter as it is written in Redis.
fn parse(text: &str) -> Option<Counter> {
    let (current_amount, rest) = text.split_once(':')?;
    let (invest_users, closed) = rest.split_once(':')?;
    let closed = match closed {
        "0" => false,
        "1" => true,
        _ => return None,
    };
    Some(Counter { current_amount: current_amount.parse().ok()?, invest_users: invest_users.parse().ok()?, closed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("300:2:0", Some((300, 2, false)))]
    #[case("0:0:1", Some((0, 0, true)))]
    #[case("", None)]
    #[case("300:2", None)]
    #[case("300:2:x", None)]
    #[case("300:2:0:0", None)]
    #[case("x:2:0", None)]
    fn a_counter_is_read_whole_or_not_at_all(#[case] text: &str, #[case] expected: Option<(i64, i64, bool)>) {
        let counter = parse(text).map(|counter| (counter.current_amount, counter.invest_users, counter.closed));
        assert_eq!(counter, expected);
    }
}
