//! Redis away, frozen, and back empty: the read models are not affected, and the counters are reloaded.

use super::Running;
use crate::product_list;
use crate::support::{Shown, World, opened, reserved};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use testbed::RedisServer;
use tracing::{Event, Level, Metadata, Subscriber, span};

/// Longer than a request to Redis may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// Everything runs, with a Redis of the test's own.
async fn with_redis() -> (World, RedisServer, Shown, Running) {
    let (world, mut server) = (World::fresh().await, RedisServer::nowhere());
    server.start();
    let shown = Shown::in_redis(server.client(), &world);
    let running = Running::all(&world, &shown);
    (world, server, shown, running)
}

#[tokio::test]
async fn without_redis_the_read_models_advance_and_everything_stops() {
    let mut world = World::fresh().await;
    let nowhere = RedisServer::nowhere().client();
    let running = Running::alone(&world).with_read_models(&world).with_counters(&world, &nowhere);
    world.append(&[opened(1, "apples", 10), reserved(1, "kim", 1, 4)]).await;
    world.until(product_list::PRODUCTS, &["1 apples: 4 of 10 by 1"]).await;
    assert!(projector::counter_positions(&nowhere, &world.log).await.is_err());
    running.stop().await;
}

/// 1. It is away at the start, then it is there. 2. It is killed, and comes back empty, while the log advances.
#[tokio::test]
async fn a_redis_that_comes_and_goes_is_filled_each_time() {
    let mut world = World::fresh().await;
    let mut server = RedisServer::nowhere();
    let shown = Shown::in_redis(server.client(), &world);
    let running = Running::all(&world, &shown);
    world.append(&[opened(1, "apples", 1_000)]).await;
    server.start();
    shown.until_at(&[0, 1]).await;

    server.kill();
    world.append(&[reserved(1, "kim", 1, 4)]).await;
    world.until(product_list::PRODUCTS, &["1 apples: 4 of 1000 by 1"]).await;
    server.start();

    shown.until_at(&[0, 2]).await;
    assert_eq!(shown.hash(1)["1"], "4:1:0");
    world.append(&[reserved(2, "lee", 1, 5)]).await;
    shown.until_at(&[0, 3]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_frozen_redis_blocks_nobody_and_is_updated_when_thawed() {
    let (mut world, server, shown, running) = with_redis().await;
    world.append(&[opened(1, "apples", 1_000)]).await;
    shown.until_at(&[0, 1]).await;

    server.freeze();
    world.append(&[reserved(1, "kim", 1, 4)]).await;
    world.until(product_list::PRODUCTS, &["1 apples: 4 of 1000 by 1"]).await;
    let asked = Instant::now();
    assert!(projector::counter_positions(&shown.client, &world.log).await.is_err());
    assert!(asked.elapsed() < ANSWER_TIMEOUT, "asking a frozen Redis took {:?}", asked.elapsed());
    server.thaw();

    shown.until_at(&[0, 2]).await;
    assert_eq!(shown.hash(1)["1"], "4:1:0");
    running.stop().await;
}

#[tokio::test]
async fn everything_stops_with_redis_frozen() {
    let (mut world, server, shown, running) = with_redis().await;
    shown.until_at(&[0, 0]).await;
    server.freeze();
    world.append(&[opened(1, "apples", 10)]).await;
    world.until(product_list::PRODUCTS, &["1 apples: 0 of 10 by 0"]).await;
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
        (self.lost.load(Ordering::Relaxed), self.back.load(Ordering::Relaxed))
    }
}

impl Subscriber for Said {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("projector::counters")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let counted = if *event.metadata().level() == Level::INFO { &self.back } else { &self.lost };
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
    let (mut world, mut server, shown, running) = with_redis().await;
    shown.until_at(&[0, 0]).await;
    assert_eq!(said.so_far(), (0, 0));

    server.kill();
    world.append(&[opened(1, "apples", 10), opened(2, "pears", 10)]).await;
    tokio::time::sleep(ANSWER_TIMEOUT).await;
    assert_eq!(said.so_far(), (1, 0));
    server.start();

    shown.until_at(&[1, 1]).await;
    world.until_it(|| said.so_far() == (1, 1)).await;
    running.stop().await;
}
