//! The checkpoint history: it says truly when an event was applied.

use crate::as_of::past::Past;
use audit::record_checkpoint_history;
use chrono::{DateTime, Utc};
use event_log::consume::Consumer;
use projector::HoldingsProjection;
use std::sync::Arc;
use testbed::until;
use tokio_util::sync::CancellationToken;

/// Until when the lease of whoever records was renewed.
const RENEWED: &str = "select until::text from leases where name = 'checkpoint_trail'";
const TRAIL: &str =
    "select format('%s %s %s', consumer, partition, position) from checkpoint_trail order by 1";

async fn until_trail_is(past: &Past, trail: &[&str]) {
    until(&format!("the trail is {trail:?}"), async || {
        past.says(TRAIL).await == trail
    })
    .await;
}

/// Steps: a consumer applies 3 events, the trail is looked at, it applies 2 more, the trail is looked at again; nothing
/// moves and nothing is added. Two processes keep the trail; one does it.
#[tokio::test]
async fn it_has_where_each_checkpoint_was_seen() {
    let mut past = Past::with_partitions(1, 2).await;
    past.happens(5).await;
    let (stop, consumer) = (CancellationToken::new(), consumer(&past));
    let keepers = [1, 2].map(|_| {
        tokio::spawn(record_checkpoint_history(
            past.log.clone(),
            past.pool.clone(),
            stop.clone(),
        ))
    });
    consumer.step_to(3).await.unwrap();
    until_trail_is(&past, &["holdings 0 3"]).await;
    let between: DateTime<Utc> = sqlx::query_scalar("select clock_timestamp()")
        .fetch_one(&past.pool)
        .await
        .unwrap();
    consumer.step_to(5).await.unwrap();
    until_trail_is(&past, &["holdings 0 3", "holdings 0 5"]).await;
    let first: Vec<DateTime<Utc>> =
        sqlx::query_scalar("select moved_at from checkpoint_trail order by position")
            .fetch_all(&past.pool)
            .await
            .unwrap();
    assert!(first[0] < between && between < first[1]);
    // Rounds that find nothing new: each renews the lease.
    for _ in 0..2 {
        let before = past.says(RENEWED).await;
        until("another round was made", async || {
            past.says(RENEWED).await != before
        })
        .await;
    }
    until_trail_is(&past, &["holdings 0 3", "holdings 0 5"]).await;
    let takings = past
        .says("select epoch::text from leases where name = 'checkpoint_trail'")
        .await;
    assert_eq!(takings, ["1"], "one process took it once");
    stop.cancel();
    for keeper in keepers {
        keeper.await.unwrap();
    }
}

#[tokio::test]
async fn what_is_old_is_forgotten_in_batches() {
    let past = Past::with_partitions(1, 2).await;
    past.execute(
        "insert into checkpoint_trail
         select 'holdings', 0, n, clock_timestamp() - interval '7 days 1 second' from generate_series(1, 25000) as n;
         insert into checkpoint_trail values ('holdings', 0, 25001, clock_timestamp() - interval '6 days 23 hours')",
    )
    .await;
    let stop = CancellationToken::new();
    let keeper = tokio::spawn(record_checkpoint_history(
        past.log.clone(),
        past.pool.clone(),
        stop.clone(),
    ));
    until_trail_is(&past, &["holdings 0 25001"]).await;
    stop.cancel();
    keeper.await.unwrap();
}

fn consumer(past: &Past) -> Consumer<HoldingsProjection> {
    Consumer::new(
        past.log.clone(),
        past.pool.clone(),
        Arc::new(HoldingsProjection),
        0,
    )
}
