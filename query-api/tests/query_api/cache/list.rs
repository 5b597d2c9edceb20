//! The cached list of open products: what is opened, closed, begins or ends shows at once.

use super::system::{CachedSystem, ComesFrom as _, From, OPEN, TEST_TIMEOUT};
use futures::future::join_all;
use std::time::{Duration, Instant};

#[tokio::test]
async fn what_is_opened_and_closed_shows() {
    let system = CachedSystem::marked().await;
    assert_eq!(
        system
            .until_from(From::Redis, "/api/product")
            .await
            .each("productId"),
        [4, 3, 2, 1]
    );

    system.plain.product(6, 1_000, 0, OPEN).await;
    system.set(2, "6", "0:0:0");
    system.set(2, "@products", 14);
    system.set(2, "@position", 14);
    let answer = system.until_from(From::Redis, "/api/product").await;
    assert_eq!(
        (answer.each("productId"), answer.total_count()),
        (vec![6.into(), 4.into(), 3.into(), 2.into(), 1.into()], 5)
    );
    assert_eq!(answer.consistency_token(), system.token([10, 11, 14, 13]));

    system.set(2, "2", "200:3:1");
    system.set(2, "@products", 15);
    system.set(2, "@position", 15);
    let answer = system.until_from(From::Redis, "/api/product").await;
    assert_eq!(
        (answer.each("productId"), answer.total_count()),
        (vec![6.into(), 4.into(), 3.into(), 1.into()], 4)
    );
    assert_eq!(
        system
            .until_from(From::Redis, "/api/product/2")
            .await
            .status,
        200
    );
}

/// A counter says closed, and the list says that it has not changed: neither is trusted.
#[tokio::test]
async fn a_list_that_contradicts_its_counters_is_not_shown() {
    let system = CachedSystem::marked().await;
    system.until_from(From::Redis, "/api/product").await;
    system.set(2, "2", "200:3:1");
    assert_eq!(
        system.cached.get("/api/product").await.from(),
        From::Postgres
    );
}

/// Redis names a product that PostgreSQL does not know: the list is not shown without it.
#[tokio::test]
async fn a_product_that_nobody_knows_is_not_left_out() {
    let system = CachedSystem::of_four().await;
    system.set(2, "6", "0:0:0");
    system.mark_postgres().await;
    assert_eq!(
        system.cached.get("/api/product").await.from(),
        From::Postgres
    );
    assert_eq!(
        system
            .until_from(From::Redis, "/api/product/2")
            .await
            .status,
        200
    );
    assert_eq!(
        system.cached.get("/api/product").await.from(),
        From::Postgres
    );
}

/// Nothing happens in the log when a window begins or ends, only the database's clock goes on.
#[tokio::test]
async fn windows_begin_and_end_by_the_clock() {
    let system = CachedSystem::of_four().await;
    system
        .plain
        .product(5, 1_000, 0, ("2 seconds", "1 day"))
        .await;
    system
        .plain
        .product(6, 1_000, 0, ("-1 day", "2 seconds"))
        .await;
    system.fill().await;
    system.mark_postgres().await;
    let listed = async || {
        system
            .until_from(From::Redis, "/api/product")
            .await
            .each("productId")
    };
    assert_eq!(listed().await, [6, 4, 3, 2, 1]);
    let start = Instant::now();
    while listed().await != [5, 4, 3, 2, 1] {
        assert!(start.elapsed() < TEST_TIMEOUT, "{:?}", listed().await);
    }
    // The clock is known only as precisely as it was polled.
    let start = Instant::now();
    while system.plain.get("/api/product").await.each("productId") != [5, 4, 3, 2, 1] {
        assert!(
            start.elapsed() < Duration::from_secs(1),
            "Redis is ahead of PostgreSQL's clock"
        );
    }
}

/// All at once and nothing known yet: each is answered, none wrongly.
#[tokio::test]
async fn many_readers_at_once_are_all_answered() {
    let system = CachedSystem::of_four().await;
    let expected = [
        system.plain.get("/api/product").await,
        system.plain.get("/api/product/3").await,
    ];
    for _ in 0..5 {
        let lists = join_all((0..50).map(|_| system.cached.get("/api/product")));
        let ones = join_all((0..50).map(|_| system.cached.get("/api/product/3")));
        let (lists, ones) = tokio::join!(lists, ones);
        for (answers, expected) in [lists, ones].iter().zip(&expected) {
            assert!(
                answers
                    .iter()
                    .all(|answer| (&answer.body, answer.consistency_token())
                        == (&expected.body, expected.consistency_token()))
            );
        }
    }
}
