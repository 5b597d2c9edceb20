//! Redis or PostgreSQL away: reads come from what is left, and a fault costs one time-out a second, not one for each request.

use super::system::{CachedSystem, ComesFrom as _, From, OPEN, partition_of};
use futures::future::join_all;
use std::time::{Duration, Instant};
use testbed::RedisServer;

/// A request to Redis times out after 100 ms, and the circuit stays open for a second.
const GIVE_UP_TIMEOUT: Duration = Duration::from_millis(100);
const OPEN_DURATION: Duration = Duration::from_secs(1);

#[tokio::test]
async fn without_redis_everything_comes_from_postgres() {
    let system = CachedSystem::in_redis(RedisServer::nowhere().client()).await;
    for product_id in 1..=4 {
        system.plain.product(product_id, 1_000, 0, OPEN).await;
    }
    for path in ["/api/product", "/api/product/2"] {
        assert_eq!(
            system.cached.get(path).await.body,
            system.plain.get(path).await.body
        );
    }
}

/// 1. Killed: PostgreSQL. 2. Back, but empty: PostgreSQL. 3. Filled: Redis.
#[tokio::test]
async fn a_redis_that_comes_back_is_read_once_it_is_complete() {
    let mut server = RedisServer::nowhere();
    server.start();
    let system = CachedSystem::in_redis(server.client()).await;
    system.seed().await;
    system.mark_postgres().await;
    for path in ["/api/product", "/api/product/2"] {
        system.until_from(From::Redis, path).await;
        server.kill();
        assert_eq!(system.cached.get(path).await.from(), From::Postgres);
        server.start();
        tokio::time::sleep(OPEN_DURATION).await;
        assert_eq!(system.cached.get(path).await.from(), From::Postgres);
        for (partition, position) in [(0, 10), (1, 11), (2, 12), (3, 13)] {
            system.set(partition, "@position", position);
            system.set(partition, "@products", position);
        }
        for product_id in 1..=4 {
            system.set(partition_of(product_id), &product_id.to_string(), "1:1:0");
        }
        system.until_from(From::Redis, path).await;
    }
}

/// Requests one after another for three seconds: one in each second waits for Redis, and no more.
#[tokio::test]
async fn a_frozen_redis_costs_one_time_out_a_second() {
    let mut server = RedisServer::nowhere();
    server.start();
    let system = CachedSystem::in_redis(server.client()).await;
    system.seed().await;
    system.mark_postgres().await;
    system.until_from(From::Redis, "/api/product").await;
    server.freeze();
    let (start, mut all, mut slow) = (Instant::now(), 0, 0);
    while start.elapsed() < 3 * OPEN_DURATION {
        let asked = Instant::now();
        assert_eq!(
            system.cached.get("/api/product").await.from(),
            From::Postgres
        );
        all += 1;
        slow += u32::from(asked.elapsed() >= GIVE_UP_TIMEOUT);
        assert!(
            asked.elapsed() < 3 * OPEN_DURATION,
            "a read took {:?}",
            asked.elapsed()
        );
    }
    assert!(
        slow >= 1 && 5 * slow < all,
        "{slow} of {all} reads were slow"
    );
    server.thaw();
    system.until_from(From::Redis, "/api/product").await;
}

/// All requests at the moment when it freezes wait at the same time, not one after another.
#[tokio::test]
async fn many_readers_of_a_frozen_redis_wait_at_the_same_time() {
    let mut server = RedisServer::nowhere();
    server.start();
    let system = CachedSystem::in_redis(server.client()).await;
    system.seed().await;
    system.mark_postgres().await;
    system.until_from(From::Redis, "/api/product/2").await;
    server.freeze();
    let asked = Instant::now();
    let answers = join_all((0..100).map(|_| system.cached.get("/api/product/2"))).await;
    assert!(
        asked.elapsed() < OPEN_DURATION + GIVE_UP_TIMEOUT,
        "they took {:?}",
        asked.elapsed()
    );
    assert!(answers.iter().all(|answer| answer.from() == From::Postgres));
    server.thaw();
}

/// The last poll counts until there is another, so cached products are still shown.
#[tokio::test]
async fn while_postgres_is_away_redis_is_read() {
    let system = CachedSystem::marked().await;
    let (list, one) = (
        system.until_from(From::Redis, "/api/product").await,
        system.until_from(From::Redis, "/api/product/2").await,
    );
    system.cached.pool.close().await;
    assert_eq!(system.cached.get("/api/product").await.body, list.body);
    tokio::time::sleep(2 * OPEN_DURATION).await;
    assert_eq!(system.cached.get("/api/product/2").await.body, one.body);
    system.set(2, "@position", 20);
    system.set(2, "2", "7:1:0");
    let answer = system.cached.get("/api/product/2").await;
    assert_eq!(
        (answer.from(), answer.consistency_token()),
        (From::Redis, &*system.token([10, 11, 20, 13]))
    );
    assert_eq!(
        system.cached.get("/api/product/my/invest").await.status,
        400
    );
}
