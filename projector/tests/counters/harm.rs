//! Harm done to the counters in Redis: it is corrected, and where it can be detected, wrong counters are never used.

use super::histories::histories;
use super::{is_always_a_fold, runtime};
use crate::support::{Happened, Hash, RedisCounters, Running, TestApp, closed, opened, reserved};
use event_log::Position;
use proptest::prelude::*;
use redis::Commands;
use rstest::rstest;

/// Apples with something taken, and plums, which are closed: partition 1 at position 4.
fn history() -> Vec<Happened> {
    vec![
        opened(1, "apples", 1_000),
        opened(3, "plums", 90),
        reserved(1, "kim", 1, 300),
        closed(3),
    ]
}

async fn app_at_4() -> (TestApp, RedisCounters, Running) {
    let mut app = TestApp::fresh().await;
    let redis = RedisCounters::of(&app);
    let running = Running::all(&app, &redis);
    app.append(&history()).await;
    redis.until_at(&[0, 4]).await;
    (app, redis, running)
}

/// A writer that is not our consumer.
const SOMEBODY: &str = "0192d3a0-0000-7000-8000-000000000009";

/// A state that says so, of the event that the log has at `of`, or of none.
async fn state(app: &TestApp, position: &str, of: Position) -> String {
    let event = app.log.raw_after(1, of - 1, 1).await.unwrap();
    let digits: String = event
        .iter()
        .flat_map(|event| event.hash)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{position}:1:{digits}:{SOMEBODY}")
}

/// Forged, with counters that are wrong for it; no event in the log reveals it.
#[rstest]
#[case::older("2", 2)]
#[case::older_than_its_event("2", 4)]
#[case::newer_than_the_log("9", 9)]
#[case::newer_than_its_event("9", 4)]
#[case::of_no_event("4", 9)]
#[case::of_another_event("4", 3)]
#[case::no_position("x", 4)]
#[case::a_negative_one("-3", 4)]
#[case::beyond_all_bounds("99999999999999999999", 4)]
#[tokio::test]
async fn a_forged_state_is_found_by_verification(#[case] position: &str, #[case] of: Position) {
    let (app, redis, running) = app_at_4().await;
    let state = state(&app, position, of).await;
    redis.forge(1, "1", "7:7:1:2");
    redis.forge(1, "@state", &state);
    redis
        .until(1, |hash| {
            hash.get("1").is_some_and(|counter| counter == "300:1:0") && hash["@position"] == "4"
        })
        .await;
    running.stop().await;
}

/// No verification in between: the next event finds it. A state newer than the log, then one that the log reaches.
#[rstest]
#[case::older("2", 2)]
#[case::newer("5", 5)]
#[case::newer_of_what_is_there("5", 4)]
#[tokio::test]
async fn a_forged_state_is_found_by_the_next_event(#[case] position: &str, #[case] of: Position) {
    let (mut app, redis, running) = app_at_4().await;
    let state = state(&app, position, of).await;
    redis.forge(1, "3", "7:7:0:2");
    redis.forge(1, "@state", &state);
    app.append(&[reserved(2, "lee", 1, 5), reserved(3, "lee", 1, 5)])
        .await;
    let is_right =
        |hash: &Hash| hash["@position"] == "6" && hash["1"] == "310:2:0" && hash["3"] == "0:0:1";
    redis
        .until(1, |hash| !hash.is_empty() && is_right(hash))
        .await;
    running.stop().await;
}

/// The state is right and stays so: only the comparison finds it.
#[rstest]
#[case::damaged(|redis: &RedisCounters| redis.plant(1, "1", "999999:77:0"))]
#[case::forged(|redis: &RedisCounters| redis.forge(1, "1", "999:77:0:4"))]
#[case::of_another_product(|redis: &RedisCounters| { let of_3: String = redis.connection().hget(redis.key(1), "3").unwrap();
                                             redis.plant(1, "1", &of_3) })]
#[case::missing(|redis: &RedisCounters| { let _: () = redis.connection().hdel(redis.key(1), "3").unwrap(); })]
#[case::too_many(|redis: &RedisCounters| redis.forge(1, "5", "0:0:0:4"))]
#[tokio::test]
async fn a_wrong_counter_is_corrected_while_the_log_is_idle(#[case] harm: impl Fn(&RedisCounters)) {
    let (_app, redis, running) = app_at_4().await;
    let counters = |hash: &Hash| {
        hash.iter()
            .filter(|(field, _)| !field.starts_with('@'))
            .count()
    };
    let is_right =
        |hash: &Hash| counters(hash) == 2 && hash["1"] == "300:1:0" && hash["3"] == "0:0:1";
    assert!(is_right(&redis.hash(1)));
    harm(&redis);
    assert!(!is_right(&redis.hash_if_good(1)));
    redis.until(1, is_right).await;
    running.stop().await;
}

/// The same while the log advances.
#[tokio::test]
async fn a_wrong_counter_is_corrected_while_the_log_advances() {
    let (mut app, redis, running) = app_at_4().await;
    redis.forge(1, "3", "89:2:0:4");
    let mut invest = 1;
    while redis.hash(1)["3"] != "0:0:1" {
        invest += 1;
        assert!(invest < 700, "it is never put right");
        app.append(&[reserved(invest, "lee", 1, 1)]).await;
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    running.stop().await;
}

/// A database that was set back and diverged past the counters' position: what the consumer remembers no longer exists.
#[tokio::test]
async fn a_log_that_differs_at_the_position_is_reloaded() {
    let (app, redis, running) = app_at_4().await;
    app.change_history("update events set hash = sha256('x') where partition = 1 and position = 4")
        .await;
    app.change_history("update checkpoints set hash = sha256('x') where consumer = 'product_list' and partition = 1")
        .await;
    let event_hash = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
    // No counter differs, so no comparison would find it.
    redis
        .until(1, |hash| {
            hash.get("@hash").is_some_and(|hash| hash == event_hash)
        })
        .await;
    running.stop().await;
}

#[tokio::test]
async fn a_key_that_is_not_a_hash_is_replaced() {
    let (_app, redis, running) = app_at_4().await;
    let _: () = redis.connection().set(redis.key(1), "not a hash").unwrap();
    let kind = |redis: &RedisCounters| -> String {
        redis::cmd("TYPE")
            .arg(redis.key(1))
            .query(&mut redis.connection())
            .unwrap()
    };
    while kind(&redis) != "hash" {
        tokio::task::yield_now().await;
    }
    redis.until_at(&[0, 4]).await;
    running.stop().await;
}

#[tokio::test]
async fn deleted_counters_come_back_while_the_log_is_idle() {
    let (_app, redis, running) = app_at_4().await;
    redis.delete();
    redis.until_at(&[0, 4]).await;
    running.stop().await;
}

/// Counters of an earlier run: the log has advanced, and they are not trusted.
#[tokio::test]
async fn counters_of_an_earlier_run_are_not_trusted() {
    let (mut app, redis, running) = app_at_4().await;
    running.stop().await;
    redis.forge(1, "3", "7:7:0:4");
    app.append(&[reserved(2, "lee", 1, 5)]).await;
    let running = Running::all(&app, &redis);
    redis
        .until(1, |hash| {
            hash["@position"] == "5" && hash["1"] == "305:2:0" && hash["3"] == "0:0:1"
        })
        .await;
    running.stop().await;
}

/// A reloaded hash does not expire, although it was staged with a time limit.
#[tokio::test]
async fn a_reloaded_hash_does_not_expire_and_leaves_nothing_behind() {
    let (_app, redis, running) = app_at_4().await;
    let lasts: i64 = redis.connection().ttl(redis.key(1)).unwrap();
    assert_eq!(lasts, -1);
    let beside: Vec<String> = redis
        .connection()
        .keys(format!("{}:*", redis.key(1)))
        .unwrap();
    assert!(beside.is_empty(), "{beside:?}");
    running.stop().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, max_shrink_iters: 20, failure_persistence: None, ..Default::default() })]

    #[test]
    fn deleted_under_way_it_is_never_shown_wrong(batches in histories(10..30)) {
        let delete = async |nth: usize, redis: &RedisCounters| if nth.is_multiple_of(3) { redis.delete() };
        runtime().block_on(is_always_a_fold(batches, 2, delete));
    }

    #[test]
    fn forgotten_scripts_are_sent_again(batches in histories(5..15)) {
        let forget = async |_: usize, redis: &RedisCounters| {
            redis::cmd("SCRIPT").arg("FLUSH").exec(&mut redis.connection()).unwrap();
        };
        runtime().block_on(is_always_a_fold(batches, 1, forget));
    }
}
