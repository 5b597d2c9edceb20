//! A client that sends back its last token never sees less than before, whatever happens to Redis.

use super::system::{CachedSystem, OPEN, checked, partition_of, state_of};
use crate::read_side::PARTITIONS;
use edge::{ConsistencyToken, LogIncarnation};
use serde_json::Value;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const USERS_IN_REDIS: i64 = 5;
const PRODUCTS: std::ops::RangeInclusive<i64> = 1..=4;

/// The read model goes on by one event: what is taken of the product is the position, so an answer tells where it was.
async fn advance(system: &CachedSystem, product_id: i64, position: i64) {
    let mut transaction = system.plain.pool.begin().await.unwrap();
    sqlx::query("update product_list set current_amount = $2 where product_id = $1")
        .bind(product_id)
        .bind(position)
        .execute(&mut *transaction)
        .await
        .unwrap();
    sqlx::query(
        "insert into checkpoints (consumer, partition, position) values ('product_list', $1, $2)
             on conflict (consumer, partition) do update set position = excluded.position",
    )
    .bind(partition_of(product_id))
    .bind(position)
    .execute(&mut *transaction)
    .await
    .unwrap();
    transaction.commit().await.unwrap();
}

/// Redis shows the partition as it is at a position. It counts other users than PostgreSQL, which tells them apart.
fn fill(system: &CachedSystem, product_id: i64, position: i64) {
    let (partition, field) = (partition_of(product_id), product_id.to_string());
    let key = system.key(partition);
    let state = checked(&key, "@state", &state_of(partition, position, 1));
    let counter = checked(
        &key,
        &field,
        &format!("{position}:{USERS_IN_REDIS}:0:{position}"),
    );
    let mut whole = redis::pipe();
    whole
        .atomic()
        .hset_multiple(&key, &[("@state", state), (&field, counter)]);
    whole
        .exec(&mut system.client.get_connection().unwrap())
        .unwrap();
}

/// Redis follows, falls behind, loses partitions and comes back with old ones, over and over.
async fn trouble(system: &CachedSystem, is_over: &AtomicBool) {
    let mut position = 1;
    while !is_over.load(Ordering::Relaxed) {
        position += 1;
        for product_id in PRODUCTS {
            advance(system, product_id, position).await;
            let partition = partition_of(product_id);
            match (position + product_id) % 17 {
                0 => system.delete(partition),
                1..=3 => {}
                // From another time, and whole.
                4 => fill(system, product_id, position / 2),
                _ => fill(system, product_id, position),
            }
        }
    }
}

fn taken(item: &Value) -> (i64, i64) {
    (
        item["productId"].as_i64().unwrap(),
        item["currentInvestingAmount"].as_i64().unwrap(),
    )
}

/// Every answer is what its own token says, and no token is behind the one before.
async fn read(system: &CachedSystem, is_over: &AtomicBool) {
    let (start, mut last, mut answers, mut from_redis) =
        (Instant::now(), vec![0; PARTITIONS], 0, 0);
    while start.elapsed() < Duration::from_secs(5) {
        let path = if answers % 2 == 0 {
            "/api/product"
        } else {
            "/api/product/3"
        };
        let token =
            ConsistencyToken::new(LogIncarnation::first(system.log_id), last.clone()).to_string();
        let answer = system
            .cached
            .call("GET", path, &[("X-Consistency-Token", &token)])
            .await;
        assert_eq!(
            (answer.status, answer.header("x-consistency")),
            (200, Some("reached")),
            "{}",
            answer.body
        );
        let shown = ConsistencyToken::asked(
            &answer.headers,
            LogIncarnation::first(system.log_id),
            PARTITIONS,
        )
        .unwrap()
        .unwrap();
        assert!(
            shown
                .positions()
                .iter()
                .zip(&last)
                .all(|(now, before)| now >= before),
            "{last:?} before {shown:?}"
        );
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        let items = body["data"]["list"]
            .as_array()
            .cloned()
            .unwrap_or_else(|| vec![body["data"].clone()]);
        for (product_id, amount) in items.iter().map(taken) {
            assert_eq!(
                amount,
                shown.positions()[partition_of(product_id) as usize],
                "of product {product_id}"
            );
        }
        last = shown.positions().to_vec();
        answers += 1;
        from_redis += i32::from(items[0]["investingCnt"] == USERS_IN_REDIS);
    }
    assert!(
        from_redis > 20 && answers - from_redis > 20,
        "{from_redis} of {answers} answers came from Redis"
    );
    is_over.store(true, Ordering::Relaxed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_are_monotonic_and_true_whatever_happens_to_redis() {
    let system = CachedSystem::new().await;
    for product_id in PRODUCTS {
        system.plain.product(product_id, 1_000_000, 1, OPEN).await;
        advance(&system, product_id, 1).await;
    }
    PRODUCTS.for_each(|product_id| fill(&system, product_id, 1));
    let is_over = AtomicBool::new(false);
    tokio::join!(trouble(&system, &is_over), read(&system, &is_over));
}
