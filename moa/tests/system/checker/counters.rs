//! I10, in Redis: the counters of each partition are the fold of the log at the position that they state.

use sha2::{Digest, Sha256};
use sqlx::PgPool;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

use super::fold::Fold;
use super::{Event, Fault, Log};

type Hash = BTreeMap<String, String>;

/// Where a log's counters are: which log it is, and in which database.
pub struct Keys {
    pub log_id: Uuid,
    database: String,
}

impl Keys {
    pub async fn of(pool: &PgPool) -> Self {
        let select = "select log_id, moa_database_id() from log_identity";
        let (log_id, database) = sqlx::query_as(select).fetch_one(pool).await.unwrap();
        Self { log_id, database }
    }

    pub fn key(&self, partition: i64) -> String {
        format!(
            "moa:{{{}.{partition}}}:counters:2:{}",
            self.log_id, self.database
        )
    }
}

/// `value` with its check, as it is written into a field.
pub fn checked(key: &str, field: &str, value: &str) -> String {
    let digest = Sha256::digest(format!("{key}\n{field}\n{value}"));
    let check: String = digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{value}:{check}")
}

/// The parts of each value; a value whose check is wrong has none.
async fn read(
    redis: &redis::Client,
    keys: &Keys,
    partition: i32,
) -> Option<BTreeMap<String, Vec<String>>> {
    let mut connection = redis.get_multiplexed_async_connection().await.ok()?;
    let key = keys.key(partition.into());
    let hash: Hash = redis::cmd("HGETALL")
        .arg(&key)
        .query_async(&mut connection)
        .await
        .ok()?;
    let parts = |(field, text): (String, String)| {
        let (value, _) = text.rsplit_once(':').unwrap_or_default();
        let is_whole = text == checked(&key, &field, value);
        let parts = value
            .split(':')
            .filter(|_| is_whole)
            .map(str::to_owned)
            .collect();
        (field, parts)
    };
    Some(hash.into_iter().map(parts).collect())
}

/// Where the counters stand; `None` when there is no telling.
pub async fn positions(redis: &redis::Client, keys: &Keys, partitions: usize) -> Option<Vec<i64>> {
    let mut positions = Vec::new();
    for partition in 0..partitions as i32 {
        positions.push(
            read(redis, keys, partition)
                .await?
                .get("@state")?
                .first()?
                .parse()
                .ok()?,
        );
    }
    Some(positions)
}

/// What differs, at rest.
pub async fn faults(log: &Log, redis: &redis::Client, keys: &Keys) -> Vec<Fault> {
    let mut faults = Vec::new();
    for partition in 0..log.partitions {
        let found = read(redis, keys, partition).await.unwrap_or_default();
        let state = found.get("@state").cloned().unwrap_or_default();
        let at: i64 = state.first().and_then(|at| at.parse().ok()).unwrap_or(0);
        let expected = expected(log, partition, at);
        let products = found
            .into_iter()
            .filter(|(field, _)| !field.starts_with('@'));
        let shown: Hash = products
            .map(|(id, parts)| (id, parts[..parts.len().min(3)].join(":")))
            .collect();
        let shown: BTreeSet<_> = shown.iter().collect();
        let right: BTreeSet<_> = expected.iter().collect();
        let differ = shown.symmetric_difference(&right);
        faults.extend(differ.map(|field| {
            Fault::new(
                "I10",
                format!("counters of {partition} differ at {field:?}"),
            )
        }));
    }
    faults
}

fn expected(log: &Log, partition: i32, at: i64) -> Hash {
    let reached = |event: &&Event| event.partition == partition && event.position <= at;
    let fold = Fold::of(log.events.iter().filter(reached));
    let counters = |(id, it): (&i64, &super::fold::Product)| {
        (
            id.to_string(),
            format!(
                "{}:{}:{}",
                it.taken,
                fold.users_in(*id),
                i32::from(it.closed)
            ),
        )
    };
    fold.products.iter().map(counters).collect()
}
