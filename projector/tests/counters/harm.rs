//! Harm done to what Redis holds: it is put right, and never shown wrong meanwhile where that can be known.

use super::histories::histories;
use super::{Running, is_always_a_fold, runtime};
use crate::support::{Happened, Shown, World, closed, opened, reserved};
use proptest::prelude::*;
use redis::Commands;
use rstest::rstest;

/// Apples with something taken, and plums, which are closed: partition 1 at position 4.
fn history() -> Vec<Happened> {
    vec![opened(1, "apples", 1_000), opened(3, "plums", 90), reserved(1, "kim", 1, 300), closed(3)]
}

async fn world_at_4() -> (World, Shown, Running) {
    let mut world = World::fresh().await;
    let shown = Shown::of(&world.log);
    let running = Running::all(&world, &shown);
    world.append(&history()).await;
    shown.until_at(&[0, 4]).await;
    (world, shown, running)
}

/// Planted with counters that are wrong for it; nothing happens in the log that would show it.
#[rstest]
#[case::older("2")]
#[case::newer_than_the_log("9")]
#[case::no_position("x")]
#[case::a_negative_one("-3")]
#[case::beyond_all_bounds("99999999999999999999")]
#[tokio::test]
async fn a_planted_checkpoint_is_found_by_looking(#[case] position: &str) {
    let (_world, shown, running) = world_at_4().await;
    shown.plant(1, "1", "7:7:1");
    shown.plant(1, "@position", position);
    shown.until(1, |hash| hash.get("1").is_some_and(|counter| counter == "300:1:0") && hash["@position"] == "4").await;
    running.stop().await;
}

/// Nothing was looked at in between: the event itself finds out. A newer one than the log's, then one that the log
/// comes to reach.
#[rstest]
#[case::older("2")]
#[case::newer("5")]
#[tokio::test]
async fn a_planted_checkpoint_is_found_by_the_next_event(#[case] position: &str) {
    let (mut world, shown, running) = world_at_4().await;
    shown.plant(1, "3", "7:7:0");
    shown.plant(1, "@position", position);
    world.append(&[reserved(2, "lee", 1, 5), reserved(3, "lee", 1, 5)]).await;
    shown.until(1, |hash| hash["@position"] == "6" && hash["1"] == "310:2:0" && hash["3"] == "0:0:1").await;
    running.stop().await;
}

#[tokio::test]
async fn what_is_no_hash_is_replaced() {
    let (_world, shown, running) = world_at_4().await;
    let _: () = shown.connection().set(shown.key(1), "not a hash").unwrap();
    let kind =
        |shown: &Shown| -> String { redis::cmd("TYPE").arg(shown.key(1)).query(&mut shown.connection()).unwrap() };
    while kind(&shown) != "hash" {
        tokio::task::yield_now().await;
    }
    shown.until_at(&[0, 4]).await;
    running.stop().await;
}

#[tokio::test]
async fn what_was_deleted_while_nothing_happens_comes_back() {
    let (_world, shown, running) = world_at_4().await;
    shown.delete();
    shown.until_at(&[0, 4]).await;
    running.stop().await;
}

/// Left over from before: the log has gone on, and what stands there is not believed, however it looks.
#[tokio::test]
async fn what_was_there_before_is_not_believed() {
    let (mut world, shown, running) = world_at_4().await;
    running.stop().await;
    shown.plant(1, "3", "7:7:0");
    world.append(&[reserved(2, "lee", 1, 5)]).await;
    let running = Running::all(&world, &shown);
    shown.until(1, |hash| hash["@position"] == "5" && hash["1"] == "305:2:0" && hash["3"] == "0:0:1").await;
    running.stop().await;
}

/// What is loaded lasts, though it was put together under a time limit.
#[tokio::test]
async fn what_is_loaded_does_not_run_out_and_leaves_nothing_behind() {
    let (_world, shown, running) = world_at_4().await;
    let lasts: i64 = shown.connection().ttl(shown.key(1)).unwrap();
    assert_eq!(lasts, -1);
    let beside: Vec<String> = shown.connection().keys(format!("{}:*", shown.key(1))).unwrap();
    assert!(beside.is_empty(), "{beside:?}");
    running.stop().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, max_shrink_iters: 20, failure_persistence: None, ..Default::default() })]

    #[test]
    fn deleted_under_way_it_is_never_shown_wrong(batches in histories(10..30)) {
        let delete = async |nth: usize, shown: &Shown| if nth.is_multiple_of(3) { shown.delete() };
        runtime().block_on(is_always_a_fold(batches, 2, delete));
    }

    #[test]
    fn forgotten_scripts_are_sent_again(batches in histories(5..15)) {
        let forget = async |_: usize, shown: &Shown| {
            redis::cmd("SCRIPT").arg("FLUSH").exec(&mut shown.connection()).unwrap();
        };
        runtime().block_on(is_always_a_fold(batches, 1, forget));
    }
}
