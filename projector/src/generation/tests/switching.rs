//! What a switch does, refuses and leaves alone, step by step.

use super::world::World;
use crate::generation::switch::{CatchUp, SwitchError};
use connection_pool::Connection;
use event_log::Position;
use event_log::consume::StepError;
use sqlx::Executor as _;
use std::time::Duration;
use tokio::sync::Notify;

const FIRST_LIVE: [&str; 11] = [
    "holdings {1,1}",
    "holdings_2 {1,1}",
    "holdings_2.holdings 7",
    "holdings_2.holdings_count 1",
    "holdings_2.holdings_product 7",
    "public.holdings 6",
    "public.holdings_count 1",
    "public.holdings_product 6",
    "holdings_2",
    "1 LIVE",
    "2 READY",
];

#[tokio::test]
async fn a_switch_swaps_the_generations_and_back() {
    let world = World::with_two_holdings().await;
    assert_eq!(world.places().await, FIRST_LIVE);

    assert_eq!(world.switch(2).await.unwrap().from, Some(1));
    let second_live = [
        "holdings {1,1}",
        "holdings_1 {1,1}",
        "holdings_1.holdings 6",
        "holdings_1.holdings_count 1",
        "holdings_1.holdings_product 6",
        "public.holdings 7",
        "public.holdings_count 1",
        "public.holdings_product 7",
        "holdings_1",
        "1 PREVIOUS",
        "2 LIVE",
    ];
    assert_eq!(world.places().await, second_live);

    assert_eq!(world.switch(1).await.unwrap().from, Some(2));
    let mut first_again = FIRST_LIVE;
    first_again[10] = "2 PREVIOUS";
    assert_eq!(world.places().await, first_again);
}

#[tokio::test]
async fn switching_to_the_live_one_changes_nothing() {
    let world = World::with_two_holdings().await;
    let switched = world.switch(1).await.unwrap();
    assert_eq!((switched.from, switched.blocked), (None, Duration::ZERO));
    assert_eq!(world.places().await, FIRST_LIVE);
}

#[tokio::test]
async fn one_generation_at_most_is_the_previous_one() {
    let world = World::with_two_holdings().await;
    world.make("holdings", 3).await;
    world.begin("holdings_3").await;
    world.switch(2).await.unwrap();
    world.switch(3).await.unwrap();
    let states = "select format('%s %s', generation, state) from generations where projection = 'holdings' order by 1";
    assert_eq!(
        world.says(states).await,
        ["1 READY", "2 PREVIOUS", "3 LIVE"]
    );
}

#[tokio::test]
async fn other_read_models_stay_where_they_are() {
    let world = World::with_two_holdings().await;
    world.begin("invest_log").await;
    let others = "select format('%s.%s', schemaname, tablename) from pg_tables
                   where tablename ~ '^(invest_log|product_list)' order by 1";
    let before = world.says(others).await;
    world.switch(2).await.unwrap();
    assert_eq!(world.says(others).await, before);
    assert_eq!(
        world
            .says("select consumer from checkpoints where consumer ~ '^i' group by 1")
            .await,
        ["invest_log"]
    );
}

#[tokio::test]
async fn tables_of_another_shape_are_swapped_too() {
    let world = World::with_two_holdings().await;
    world.run("create table holdings_2.holdings_note (note text); drop table holdings_2.holdings_count").await;
    world.switch(2).await.unwrap();
    let tables = "select tablename::text from pg_tables where tablename ~ '^holdings' and schemaname = 'public' order by 1";
    assert_eq!(
        world.says(tables).await,
        ["holdings", "holdings_note", "holdings_product"]
    );
    world.switch(1).await.unwrap();
    assert_eq!(
        world.says(tables).await,
        ["holdings", "holdings_count", "holdings_product"]
    );
}

/// What is paused is the live model, whichever generation that is.
#[tokio::test]
async fn a_paused_model_stays_paused() {
    let world = World::with_two_holdings().await;
    world
        .run("update checkpoints set paused = true where consumer = 'holdings'")
        .await;
    world.switch(2).await.unwrap();
    let paused = "select distinct consumer from checkpoints where paused";
    assert_eq!(world.says(paused).await, ["holdings"]);
}

#[tokio::test]
async fn a_generation_that_is_behind_is_refused() {
    let world = World::with_two_holdings().await;
    // Ahead in one partition does not make up for the other.
    world
        .run("update checkpoints set position = 9 where consumer = 'holdings_2' and partition = 0")
        .await;
    world
        .run("update checkpoints set position = 4 where consumer = 'holdings' and partition = 1")
        .await;
    let before = world.places().await;
    match world.switch(2).await {
        Err(SwitchError::Behind { events, .. }) => assert_eq!(events, 3),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.places().await, before);
}

#[tokio::test]
async fn a_live_partition_that_the_other_never_began_is_behind() {
    let world = World::with_two_holdings().await;
    world
        .run("delete from checkpoints where consumer = 'holdings_2' and partition = 1")
        .await;
    let before = world.places().await;
    assert!(matches!(
        world.switch(2).await,
        Err(SwitchError::Behind { events: 1, .. })
    ));
    assert_eq!(world.places().await, before);
}

#[tokio::test]
async fn an_incomplete_or_unknown_generation_is_refused() {
    let world = World::with_two_holdings().await;
    world.run("insert into generations values ('holdings', 3, 1, 'READY'), ('holdings', 4, 1, 'BUILDING')").await;
    let before = world.places().await;
    for unfit in [3, 4, 5] {
        assert!(
            matches!(world.switch(unfit).await, Err(SwitchError::Unfit { .. })),
            "{unfit}"
        );
    }
    assert_eq!(world.places().await, before);
}

/// Moves the checkpoints to where the live ones are, and says so in the tables.
struct Follows;

const LATE: &str = "set local search_path = holdings_2, public; insert into holdings_product values (99, 'late', 1)";

impl CatchUp for Follows {
    async fn catch_up(
        &mut self,
        transaction: &mut Connection,
        live: &[Position],
    ) -> Result<(), StepError> {
        transaction.execute(LATE).await?;
        sqlx::query("update checkpoints set position = ($1::bigint[])[partition + 1] where consumer = 'holdings_2'")
            .bind(live)
            .execute(transaction)
            .await?;
        Ok(())
    }
}

#[tokio::test]
async fn a_generation_catches_up_within_the_switch() {
    let world = World::with_two_holdings().await;
    world
        .run("update checkpoints set position = 5 where consumer = 'holdings'")
        .await;
    world.switch_with(2, &mut Follows).await.unwrap();
    assert_eq!(
        world
            .says("select title from holdings_product where product_id = 99")
            .await,
        ["late"]
    );
    assert!(world.places().await.contains(&"holdings {5,5}".to_owned()));
}

/// Never comes to an end; says when it began.
struct Stands<'a>(&'a Notify);

impl CatchUp for Stands<'_> {
    async fn catch_up(&mut self, _: &mut Connection, _: &[Position]) -> Result<(), StepError> {
        self.0.notify_one();
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_generation_that_catches_up_too_slowly_is_behind() {
    let world = World::with_two_holdings().await;
    world
        .run("update checkpoints set position = 5 where consumer = 'holdings'")
        .await;
    let before = world.places().await;
    let began = Notify::new();
    assert!(matches!(
        world.switch_with(2, &mut Stands(&began)).await,
        Err(SwitchError::Behind { events: 8, .. })
    ));
    assert_eq!(world.places().await, before);
}

/// 1. The switch holds both generations' checkpoints and catches up.
/// 2. Its process is gone, and its connection with it.
/// 3. All is as it was, and a switch is possible.
#[tokio::test]
async fn a_switch_that_is_killed_changes_nothing() {
    let world = World::with_two_holdings().await;
    world
        .run("update checkpoints set position = 5 where consumer = 'holdings'")
        .await;
    let before = world.places().await;
    let began = Notify::new();
    let mut stands = Stands(&began);
    tokio::select! {
        _ = world.switch_with(2, &mut stands) => panic!("it does not come to an end"),
        () = began.notified() => {}
    }
    assert_eq!(world.places().await, before);
    world.switch_with(2, &mut Follows).await.unwrap();
}

/// 1. A reader keeps a table, so that the switch waits with all its other locks taken.
/// 2. The server ends the switch's session there.
/// 3. All is as it was.
#[tokio::test]
async fn a_switch_that_is_killed_with_the_tables_in_hand_changes_nothing() {
    let world = World::with_two_holdings().await;
    let before = world.places().await;
    let mut reader = world.pool.begin().await.unwrap();
    reader
        .execute("select from holdings_product")
        .await
        .unwrap();
    let killed = async {
        let kill = "select pg_terminate_backend(pid)::text from pg_locks where not granted and mode = 'AccessExclusiveLock'";
        while world.says(kill).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let (switched, ()) = tokio::join!(world.switch(2), killed);
    assert!(
        matches!(switched, Err(SwitchError::Database(_))),
        "{switched:?}"
    );
    reader.rollback().await.unwrap();
    assert_eq!(world.places().await, before);
}
