//! counters: Redis has what `product_list` has, at every position that its state names, whatever happens to Redis.

mod away;
mod copies;
mod fold;
mod harm;
mod histories;

use crate::support::{
    Happened, Hash, RedisCounters, Running, TestApp, cancelled, closed, failed, opened, reserved,
    settled, target_missed,
};
use event_log::consume::EventSource;
use event_log::{Log, Partition, Position, RecordedEvent};
use fold::{Fold, Watch};
use histories::histories;
use proptest::prelude::*;
use redis::Commands;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

#[test]
fn the_key_is_the_one_that_readers_know() {
    let log_id = "0192d3a0-0000-7000-8000-000000000001".parse().unwrap();
    let key = projector::counters_key(log_id, 13, "77.5");
    assert_eq!(
        key,
        "moa:{0192d3a0-0000-7000-8000-000000000001.13}:counters:2:77.5"
    );
    assert_eq!(projector::COUNTERS, "counters");
}

/// Readers rely on exactly these fields.
#[tokio::test]
async fn the_fields_are_those_that_readers_know() {
    let mut app = TestApp::fresh().await;
    let redis = RedisCounters::of(&app);
    let running = Running::all(&app, &redis);
    redis.until_at(&[0, 0]).await;
    app.append(&[
        opened(1, "apples", 1_000),
        reserved(1, "kim", 1, 300),
        reserved(2, "lee", 1, 50),
    ])
    .await;
    app.append(&[
        opened(3, "plums", 90),
        opened(2, "pears", 10),
        closed(3),
        failed(2, "lee", 1, 50),
    ])
    .await;
    app.append(&[settled(1, "kim", 1, 300)]).await;
    redis.until_at(&[1, 7]).await;
    let raw: Hash = redis.connection().hgetall(redis.key(1)).unwrap();
    assert_eq!(raw.keys().collect::<Vec<_>>(), ["1", "3", "@state"]);
    assert!(
        raw["1"].starts_with("300:1:0:7:") && raw["3"].starts_with("0:0:1:"),
        "{raw:?}"
    );
    let mut hash = redis.hash(1);
    assert!(hash.remove("@by").is_some());
    let event = app.log.raw_after(1, 6, 1).await.unwrap().remove(0);
    let digits: String = event
        .hash
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(hash.remove("@hash"), Some(digits));
    let fields: Vec<_> = hash
        .iter()
        .map(|(field, value)| (field.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        fields,
        [
            ("1", "300:1:0"),
            ("3", "0:0:1"),
            ("@position", "7"),
            ("@products", "5")
        ]
    );
    assert_eq!(redis.hash(0)["2"], "0:0:0");
    app.append(&[cancelled(3, "a reason"), target_missed(2, 9, 0)])
        .await;
    redis.until_at(&[2, 8]).await;
    assert_eq!(
        (redis.hash(0)["2"].as_str(), redis.hash(1)["3"].as_str()),
        ("0:0:2", "0:0:2")
    );
    assert_eq!(
        (
            redis.hash(0)["@products"].as_str(),
            redis.hash(1)["@products"].as_str()
        ),
        ("2", "8")
    );
    running.stop().await;
}

/// Counters of another log in the same Redis are not touched.
#[tokio::test]
async fn logs_do_not_mix() {
    let (mut one, mut other) = (TestApp::fresh().await, TestApp::fresh().await);
    let (redis, others) = (RedisCounters::of(&one), RedisCounters::of(&other));
    let running = (Running::all(&one, &redis), Running::all(&other, &others));
    one.append(&[opened(1, "apples", 1_000), reserved(1, "kim", 1, 300)])
        .await;
    other.append(&[opened(1, "pears", 1_000)]).await;
    redis.until_at(&[0, 2]).await;
    others.until_at(&[0, 1]).await;
    assert_eq!(
        (redis.hash(1)["1"].as_str(), others.hash(1)["1"].as_str()),
        ("300:1:0", "0:0:0")
    );
    running.0.stop().await;
    running.1.stop().await;
}

/// The log advances, `product_list` does not, and so neither do the counters; then it does.
#[tokio::test]
async fn a_read_model_that_is_behind_is_waited_for() {
    let mut app = TestApp::fresh().await;
    let redis = RedisCounters::of(&app);
    let running = Running::alone(&app.log).with_counters(&app, &redis.client);
    app.append(&[opened(1, "apples", 1_000), reserved(1, "kim", 1, 300)])
        .await;
    redis.until_at(&[0, 0]).await;
    let running = running.with_read_models(&app.log, &app.pool);
    redis.until_at(&[0, 2]).await;
    running.stop().await;
}

/// A long history is reloaded from `product_list`; later events are read from the log.
#[tokio::test]
async fn a_long_history_is_complete_in_redis() {
    let mut app = TestApp::fresh().await;
    let redis = RedisCounters::of(&app);
    let mut events = vec![opened(1, "apples", 1_000_000)];
    events.extend((1..=5_000).map(|n| reserved(n, "kim", 1, 7)));
    let mut history = app.append_at_once(&events).await;
    let running = Running::all(&app, &redis);
    redis.until_at(&[0, 5_001]).await;
    history.extend(app.append(&[reserved(6_000, "lee", 1, 9)]).await);
    redis.until_at(&[0, 5_002]).await;
    Fold::of(&history).is(&redis.hash(1), 1);
    running.stop().await;
}

/// In a rush `product_list` takes steps of thousands of events. The counters follow it by what the log says, and are not loaded again: what
/// they say of the list is of the event that changed it, and not of a reload.
#[tokio::test]
async fn large_steps_of_the_read_model_are_followed_without_a_reload() {
    let mut app = TestApp::fresh().await;
    let redis = RedisCounters::of(&app);
    let running = Running::alone(&app.log).with_counters(&app, &redis.client);
    redis.until_at(&[0, 0]).await;
    let mut events = vec![opened(1, "apples", 1_000_000)];
    events.extend((1..=12_000).map(|n| reserved(n, "kim", 1, 7)));
    let history = app.append_at_once(&events).await;
    let running = running.with_read_models(&app.log, &app.pool);
    redis.until_at(&[0, 12_001]).await;
    Fold::of(&history).is(&redis.hash(1), 1);
    assert_eq!(redis.hash(1)["@products"], "1");
    running.stop().await;
}

/// Delivers everything again and again, the last first, with gaps, and without need.
struct Repeats {
    listener: event_log::LocalSubscription,
    heard: Vec<RecordedEvent>,
}

impl EventSource for Repeats {
    async fn next_batch(
        &mut self,
        position: Position,
        not_before: Instant,
        delivered: &mut Vec<RecordedEvent>,
    ) {
        let mut fresh = Vec::new();
        tokio::time::timeout(
            Duration::from_millis(20),
            self.listener.next_batch(position, not_before, &mut fresh),
        )
        .await
        .ok();
        self.heard.extend(fresh);
        let turned = self
            .heard
            .iter()
            .rev()
            .chain(self.heard.iter().step_by(2))
            .chain(&self.heard);
        delivered.extend(turned.cloned());
    }
}

fn repeating(
    log: &Log,
) -> impl Fn(&'static str, Partition) -> Option<Repeats> + Clone + Send + Sync + 'static {
    let log = log.clone();
    move |_, partition| {
        Some(Repeats {
            listener: log.subscribe(partition)?,
            heard: Vec::new(),
        })
    }
}

#[tokio::test]
async fn repeated_deliveries_change_nothing() {
    let mut app = TestApp::fresh().await;
    let redis = RedisCounters::of(&app);
    let running = Running::read_models(&app.log, &app.pool);
    let running = running.with_counters_from(&app, &redis.client, repeating(&app.log));
    let watch = Watch::begin(&redis);
    let mut history = app
        .append(&[opened(1, "apples", 1_000), opened(2, "pears", 1_000)])
        .await;
    for n in 1..=20 {
        history.extend(
            app.append(&[reserved(n, "kim", 1 + (n as i64 % 2), 10)])
                .await,
        );
    }
    redis.until_at(&[11, 11]).await;
    watch.end().await.all_are_folds_of(&history);
    running.stop().await;
}

/// Takes longer than the interval between two verifications, and finds nothing when its wait is cancelled.
#[derive(Clone, Default)]
struct Slow {
    was_heard_out: Arc<AtomicBool>,
}

impl EventSource for Slow {
    async fn next_batch(&mut self, _: Position, _: Instant, _: &mut Vec<RecordedEvent>) {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        self.was_heard_out.store(true, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_slow_source_is_waited_for() {
    let mut app = TestApp::fresh().await;
    let (redis, slow) = (RedisCounters::of(&app), Slow::default());
    let (running, source) = (Running::read_models(&app.log, &app.pool), slow.clone());
    let running = running.with_counters_from(&app, &redis.client, move |_, _| Some(source.clone()));
    redis.until_at(&[0, 0]).await;
    app.append(&[opened(1, "apples", 1_000)]).await;
    redis.until_at(&[0, 1]).await;
    assert!(slow.was_heard_out.load(Ordering::Relaxed));
    running.stop().await;
}

/// Runs `instances` of everything over a history that is appended meanwhile, does harm after each batch, and checks that
/// every state that Redis ever had was the fold of the log at its position.
pub async fn is_always_a_fold(
    batches: Vec<Vec<Happened>>,
    instances: usize,
    harm: impl AsyncFn(usize, &RedisCounters),
) {
    let mut app = TestApp::fresh().await;
    let redis = RedisCounters::of(&app);
    let mut running = Running::alone(&app.log);
    for _ in 0..instances {
        running = running
            .with_read_models(&app.log, &app.pool)
            .with_counters(&app, &redis.client);
    }
    let watch = Watch::begin(&redis);
    let mut history = Vec::new();
    for (nth, happened) in batches.iter().enumerate() {
        history.extend(app.append_at_once(happened).await);
        harm(nth, &redis).await;
    }
    redis.until_at(&app.log.heads().await.unwrap()).await;
    watch.end().await.all_are_folds_of(&history);
    for partition in app.log.partitions() {
        Fold::of(&history).is(&redis.hash(partition), partition);
    }
    running.stop().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 20, failure_persistence: None, ..Default::default() })]

    #[test]
    fn whatever_happens_redis_shows_the_fold_at_its_position(batches in histories(1..30)) {
        runtime().block_on(is_always_a_fold(batches, 1, async |_, _| {}));
    }

    #[test]
    fn two_instances_show_what_one_would(batches in histories(10..30)) {
        runtime().block_on(is_always_a_fold(batches, 2, async |_, _| {}));
    }
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}
