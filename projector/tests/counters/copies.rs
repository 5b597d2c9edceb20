//! A copy of a database that diverges and shares the Redis: each has counters of its own.

use super::fold::{Fold, Watch};
use crate::support::{RedisCounters, Running, TestApp, opened, reserved};
use event_log::RecordedEvent;

/// An app at position 2 of partition 1 whose counters were shown, and a copy of it; one goes on to 3, the other to 5.
async fn original_and_copy() -> ([TestApp; 2], [Vec<RecordedEvent>; 2]) {
    let mut app = TestApp::fresh().await;
    let redis = RedisCounters::of(&app);
    let running = Running::all(&app, &redis);
    let common = app
        .append(&[opened(1, "apples", 1_000), reserved(1, "kim", 1, 300)])
        .await;
    redis.until_at(&[0, 2]).await;
    running.stop().await;
    let mut apps = app.copied().await;
    let mut histories = [common.clone(), common];
    histories[0].extend(apps[0].append(&[reserved(2, "lee", 1, 7)]).await);
    for invest in 3..=5 {
        histories[1].extend(apps[1].append(&[reserved(invest, "moon", 1, 100)]).await);
    }
    (apps, histories)
}

#[tokio::test]
async fn a_copy_of_the_database_has_counters_of_its_own() {
    let (apps, histories) = original_and_copy().await;
    let redis = [RedisCounters::of(&apps[0]), RedisCounters::of(&apps[1])];
    assert_ne!(redis[0].key(1), redis[1].key(1));
    let running = [
        Running::all(&apps[0], &redis[0]),
        Running::all(&apps[1], &redis[1]),
    ];
    redis[0].until_at(&[0, 3]).await;
    redis[1].until_at(&[0, 5]).await;
    for (redis, history) in redis.iter().zip(&histories) {
        Fold::of(history).is(&redis.hash(1), 1);
    }
    for running in running {
        running.stop().await;
    }
}

/// A copy of the server's files has the same database id. The larger position does not win: Redis always has the fold of one of
/// the two, and each reloads its own again and again.
#[tokio::test]
async fn a_copy_that_cannot_be_told_apart_does_not_win() {
    let (mut apps, histories) = original_and_copy().await;
    for app in &mut apps {
        let same = "create or replace function moa_database_id() returns text language sql as $$select 'same'$$";
        sqlx::query(same).execute(&app.pool).await.unwrap();
        app.database_id = "same".into();
    }
    let redis = RedisCounters::of(&apps[0]);
    let running = [
        Running::all(&apps[0], &redis),
        Running::all(&apps[1], &redis),
    ];
    let watch = Watch::begin(&redis);
    for _ in 0..2 {
        redis
            .until(1, |hash| {
                hash.get("@position")
                    .is_some_and(|position| position == "3")
            })
            .await;
        redis
            .until(1, |hash| {
                hash.get("@position")
                    .is_some_and(|position| position == "5")
            })
            .await;
    }
    for hash in watch
        .end_of(1)
        .await
        .iter()
        .filter(|hash| hash["@position"].as_str() > "2")
    {
        let is_the_copys = hash["@position"].as_str() > "3" || hash["1"] == "400:2:0";
        Fold::of(&histories[usize::from(is_the_copys)]).is(hash, 1);
    }
    for running in running {
        running.stop().await;
    }
}
