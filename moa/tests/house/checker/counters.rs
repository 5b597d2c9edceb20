//! I10, in Redis: the counters of each partition are the fold of the log at the position that they state.

use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

use super::fold::Fold;
use super::{Event, Fault, Log};

type Hash = BTreeMap<String, String>;

async fn read(redis: &redis::Client, log_id: Uuid, partition: i32) -> Option<Hash> {
    let mut connection = redis.get_multiplexed_async_connection().await.ok()?;
    let key = format!("moa:{{{log_id}.{partition}}}:counters");
    redis::cmd("HGETALL").arg(key).query_async(&mut connection).await.ok()
}

/// Where the counters stand; `None` when there is no telling.
pub async fn positions(redis: &redis::Client, log_id: Uuid, partitions: usize) -> Option<Vec<i64>> {
    let mut positions = Vec::new();
    for partition in 0..partitions as i32 {
        positions.push(read(redis, log_id, partition).await?.get("@position")?.parse().ok()?);
    }
    Some(positions)
}

/// What differs, at rest.
pub async fn faults(log: &Log, redis: &redis::Client, log_id: Uuid) -> Vec<Fault> {
    let mut faults = Vec::new();
    for partition in 0..log.partitions {
        let found = read(redis, log_id, partition).await.unwrap_or_default();
        let expected = expected(log, partition, &found);
        let shown: BTreeSet<_> = found.iter().filter(|(field, _)| !field.starts_with('@')).collect();
        let right: BTreeSet<_> = expected.iter().collect();
        let differ = shown.symmetric_difference(&right);
        faults.extend(differ.map(|field| Fault::new("I10", format!("counters of {partition} differ at {field:?}"))));
    }
    faults
}

fn expected(log: &Log, partition: i32, found: &Hash) -> Hash {
    let at: i64 = found.get("@position").and_then(|at| at.parse().ok()).unwrap_or(0);
    let reached = |event: &&Event| event.partition == partition && event.position <= at;
    let fold = Fold::of(log.events.iter().filter(reached));
    let counters = |(id, it): (&i64, &super::fold::Product)| {
        (id.to_string(), format!("{}:{}:{}", it.taken, fold.users_in(*id), i32::from(it.closed)))
    };
    fold.products.iter().map(counters).collect()
}
