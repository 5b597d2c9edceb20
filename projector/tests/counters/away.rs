//! Redis away, frozen, and back empty: the read models are not affected, and the counters are reloaded.

use crate::product_list;
use crate::support::{RedisCounters, Running, TestApp, opened, reserved};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use testbed::RedisServer;
use tracing::{Event, Level, Metadata, Subscriber, span};

/// Longer than a request to Redis may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// Everything runs, with a Redis of the test's own.
async fn with_redis() -> (TestApp, RedisServer, RedisCounters, Running) {
    let (app, mut server) = (TestApp::fresh().await, RedisServer::nowhere());
    server.start();
    let redis = RedisCounters::in_redis(server.client(), &app);
    let running = Running::all(&app, &redis);
    (app, server, redis, running)
}

#[tokio::test]
async fn without_redis_the_read_models_advance_and_everything_stops() {
    let mut app = TestApp::fresh().await;
    let nowhere = RedisServer::nowhere().client();
    let running = Running::read_models(&app.log, &app.pool).with_counters(&app, &nowhere);
    app.append(&[opened(1, "apples", 10), reserved(1, "kim", 1, 4)])
        .await;
    app.until(product_list::PRODUCTS, &["1 apples: 4 of 10 by 1"])
        .await;
    assert!(
        projector::counter_positions(&nowhere, &app.log)
            .await
            .is_err()
    );
    running.stop().await;
}

/// 1. It is away at the start, then it is there. 2. It is killed, and comes back empty, while the log advances.
#[tokio::test]
async fn a_redis_that_comes_and_goes_is_filled_each_time() {
    let mut app = TestApp::fresh().await;
    let mut server = RedisServer::nowhere();
    let redis = RedisCounters::in_redis(server.client(), &app);
    let running = Running::all(&app, &redis);
    app.append(&[opened(1, "apples", 1_000)]).await;
    server.start();
    redis.until_at(&[0, 1]).await;

    server.kill();
    app.append(&[reserved(1, "kim", 1, 4)]).await;
    app.until(product_list::PRODUCTS, &["1 apples: 4 of 1000 by 1"])
        .await;
    server.start();

    redis.until_at(&[0, 2]).await;
    assert_eq!(redis.hash(1)["1"], "4:1:0");
    app.append(&[reserved(2, "lee", 1, 5)]).await;
    redis.until_at(&[0, 3]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_frozen_redis_blocks_nobody_and_is_updated_when_thawed() {
    let (mut app, server, redis, running) = with_redis().await;
    app.append(&[opened(1, "apples", 1_000)]).await;
    redis.until_at(&[0, 1]).await;

    server.freeze();
    app.append(&[reserved(1, "kim", 1, 4)]).await;
    app.until(product_list::PRODUCTS, &["1 apples: 4 of 1000 by 1"])
        .await;
    let asked = Instant::now();
    assert!(
        projector::counter_positions(&redis.client, &app.log)
            .await
            .is_err()
    );
    assert!(
        asked.elapsed() < ANSWER_TIMEOUT,
        "asking a frozen Redis took {:?}",
        asked.elapsed()
    );
    server.thaw();

    redis.until_at(&[0, 2]).await;
    assert_eq!(redis.hash(1)["1"], "4:1:0");
    running.stop().await;
}

#[tokio::test]
async fn everything_stops_with_redis_frozen() {
    let (mut app, server, redis, running) = with_redis().await;
    redis.until_at(&[0, 0]).await;
    server.freeze();
    app.append(&[opened(1, "apples", 10)]).await;
    app.until(product_list::PRODUCTS, &["1 apples: 0 of 10 by 0"])
        .await;
    running.stop().await;
    server.thaw();
}

/// Counts the log lines about Redis: that it is lost, and that it is back.
#[derive(Clone, Default)]
struct Said {
    lost: Arc<AtomicU32>,
    back: Arc<AtomicU32>,
}

impl Said {
    fn so_far(&self) -> (u32, u32) {
        (
            self.lost.load(Ordering::Relaxed),
            self.back.load(Ordering::Relaxed),
        )
    }
}

impl Subscriber for Said {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "connection_pool::outage"
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let counted = if *event.metadata().level() == Level::INFO {
            &self.back
        } else {
            &self.lost
        };
        counted.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// However many partitions lose it, and however often each retries.
#[tokio::test]
async fn a_loss_of_redis_is_logged_once_and_its_return_too() {
    let said = Said::default();
    let _listening = tracing::subscriber::set_default(said.clone());
    let (mut app, mut server, redis, running) = with_redis().await;
    redis.until_at(&[0, 0]).await;
    assert_eq!(said.so_far(), (0, 0));

    server.kill();
    app.append(&[opened(1, "apples", 10), opened(2, "pears", 10)])
        .await;
    app.until_it(|| said.so_far() == (1, 0)).await;
    server.start();

    redis.until_at(&[1, 1]).await;
    app.until_it(|| said.so_far() == (1, 1)).await;
    running.stop().await;
}
