//! Redis or PostgreSQL away: what there is is shown, and trouble costs a moment a second, not a moment a request.

use super::shelf::{From, OPEN, Shelf, partition_of};
use futures::future::join_all;
use std::time::{Duration, Instant};
use testbed::RedisServer;

/// Redis is given up after 100 ms, and left alone for a second.
const GIVEN_UP: Duration = Duration::from_millis(100);
const LEFT_ALONE: Duration = Duration::from_secs(1);

#[tokio::test]
async fn without_redis_everything_comes_from_postgres() {
    let shelf = Shelf::in_redis(RedisServer::nowhere().client()).await;
    for product_id in 1..=4 {
        shelf.plain.product(product_id, 1_000, 0, OPEN).await;
    }
    for path in ["/api/product", "/api/product/2"] {
        assert_eq!(shelf.cached.get(path).await.body, shelf.plain.get(path).await.body);
    }
}

/// 1. Killed: PostgreSQL. 2. Back, but empty: PostgreSQL. 3. Filled: Redis.
#[tokio::test]
async fn a_redis_that_comes_back_is_shown_when_it_is_whole() {
    let mut server = RedisServer::nowhere();
    server.start();
    let shelf = Shelf::in_redis(server.client()).await;
    shelf.seed().await;
    shelf.mark_postgres().await;
    for path in ["/api/product", "/api/product/2"] {
        shelf.until_from(From::Redis, path).await;
        server.kill();
        assert_eq!(shelf.cached.get(path).await.from(), From::Postgres);
        server.start();
        tokio::time::sleep(LEFT_ALONE).await;
        assert_eq!(shelf.cached.get(path).await.from(), From::Postgres);
        for (partition, position) in [(0, 10), (1, 11), (2, 12), (3, 13)] {
            shelf.set(partition, "@position", position);
            shelf.set(partition, "@products", position);
        }
        for product_id in 1..=4 {
            shelf.set(partition_of(product_id), &product_id.to_string(), "1:1:0");
        }
        shelf.until_from(From::Redis, path).await;
    }
}

/// Requests one after another for three seconds: one in each second waits for Redis, and no more.
#[tokio::test]
async fn a_frozen_redis_costs_one_time_out_a_second() {
    let mut server = RedisServer::nowhere();
    server.start();
    let shelf = Shelf::in_redis(server.client()).await;
    shelf.seed().await;
    shelf.mark_postgres().await;
    shelf.until_from(From::Redis, "/api/product").await;
    server.freeze();
    let (start, mut all, mut slow) = (Instant::now(), 0, 0);
    while start.elapsed() < 3 * LEFT_ALONE {
        let asked = Instant::now();
        assert_eq!(shelf.cached.get("/api/product").await.from(), From::Postgres);
        all += 1;
        slow += u32::from(asked.elapsed() >= GIVEN_UP);
        assert!(asked.elapsed() < 3 * LEFT_ALONE, "a read took {:?}", asked.elapsed());
    }
    assert!(slow >= 1 && 5 * slow < all, "{slow} of {all} reads were slow");
    server.thaw();
    shelf.until_from(From::Redis, "/api/product").await;
}

/// All that come at the moment it freezes wait side by side, not one behind the other.
#[tokio::test]
async fn many_readers_of_a_frozen_redis_wait_side_by_side() {
    let mut server = RedisServer::nowhere();
    server.start();
    let shelf = Shelf::in_redis(server.client()).await;
    shelf.seed().await;
    shelf.mark_postgres().await;
    shelf.until_from(From::Redis, "/api/product/2").await;
    server.freeze();
    let asked = Instant::now();
    let answers = join_all((0..100).map(|_| shelf.cached.get("/api/product/2"))).await;
    assert!(asked.elapsed() < LEFT_ALONE + GIVEN_UP, "they took {:?}", asked.elapsed());
    assert!(answers.iter().all(|answer| answer.from() == From::Postgres));
    server.thaw();
}

/// The last look counts until there is another, so products that are known are still shown.
#[tokio::test]
async fn while_postgres_is_away_redis_goes_on() {
    let shelf = Shelf::of_four().await;
    shelf.mark_postgres().await;
    let (list, one) =
        (shelf.until_from(From::Redis, "/api/product").await, shelf.until_from(From::Redis, "/api/product/2").await);
    shelf.cached.pool.close().await;
    assert_eq!(shelf.cached.get("/api/product").await.body, list.body);
    tokio::time::sleep(2 * LEFT_ALONE).await;
    assert_eq!(shelf.cached.get("/api/product/2").await.body, one.body);
    shelf.set(2, "@position", 20);
    shelf.set(2, "2", "7:1:0");
    let answer = shelf.cached.get("/api/product/2").await;
    assert_eq!((answer.from(), answer.token()), (From::Redis, &*shelf.token([10, 11, 20, 13])));
    assert_eq!(shelf.cached.get("/api/product/my/invest").await.status, 400);
}
