//! A copy of a database that diverges and shares the Redis: each has counters of its own.

use super::Running;
use super::fold::{Fold, Watch};
use crate::support::{Shown, World, opened, reserved};
use event_log::RecordedEvent;

/// A world at position 2 of partition 1 whose counters were shown, and a copy of it; one goes on to 3, the other to 5.
async fn original_and_copy() -> ([World; 2], [Vec<RecordedEvent>; 2]) {
    let mut world = World::fresh().await;
    let shown = Shown::of(&world);
    let running = Running::all(&world, &shown);
    let common = world.append(&[opened(1, "apples", 1_000), reserved(1, "kim", 1, 300)]).await;
    shown.until_at(&[0, 2]).await;
    running.stop().await;
    let mut worlds = world.copied().await;
    let mut histories = [common.clone(), common];
    histories[0].extend(worlds[0].append(&[reserved(2, "lee", 1, 7)]).await);
    for invest in 3..=5 {
        histories[1].extend(worlds[1].append(&[reserved(invest, "moon", 1, 100)]).await);
    }
    (worlds, histories)
}

#[tokio::test]
async fn a_copy_of_the_database_has_counters_of_its_own() {
    let (worlds, histories) = original_and_copy().await;
    let shown = [Shown::of(&worlds[0]), Shown::of(&worlds[1])];
    assert_ne!(shown[0].key(1), shown[1].key(1));
    let running = [Running::all(&worlds[0], &shown[0]), Running::all(&worlds[1], &shown[1])];
    shown[0].until_at(&[0, 3]).await;
    shown[1].until_at(&[0, 5]).await;
    for (shown, history) in shown.iter().zip(&histories) {
        Fold::of(history).is(&shown.hash(1), 1);
    }
    for running in running {
        running.stop().await;
    }
}

/// A copy of the server's files has the same database id. The larger position does not win: Redis always has the fold of one of
/// the two, and each reloads its own again and again.
#[tokio::test]
async fn a_copy_that_cannot_be_told_apart_does_not_win() {
    let (mut worlds, histories) = original_and_copy().await;
    for world in &mut worlds {
        let same = "create or replace function moa_database_id() returns text language sql as $$select 'same'$$";
        sqlx::query(same).execute(&world.pool).await.unwrap();
        world.database_id = "same".into();
    }
    let shown = Shown::of(&worlds[0]);
    let running = [Running::all(&worlds[0], &shown), Running::all(&worlds[1], &shown)];
    let watch = Watch::begin(&shown);
    for _ in 0..2 {
        shown.until(1, |hash| hash.get("@position").is_some_and(|position| position == "3")).await;
        shown.until(1, |hash| hash.get("@position").is_some_and(|position| position == "5")).await;
    }
    for hash in watch.end_of(1).await.iter().filter(|hash| hash["@position"].as_str() > "2") {
        let is_the_copys = hash["@position"].as_str() > "3" || hash["1"] == "400:2:0";
        Fold::of(&histories[usize::from(is_the_copys)]).is(hash, 1);
    }
    for running in running {
        running.stop().await;
    }
}
