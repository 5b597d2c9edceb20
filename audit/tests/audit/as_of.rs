//! As it stood: whatever the time, an answer about the past is what the live read models and views showed when they had
//! exactly the events up to then.

mod edges;
pub mod past;
mod product;

use chrono::TimeDelta;
use domain::ProductEvent;
use event_log::RecordedEvent;
use event_log::consume::{Consumer, Projection, Step};
use past::{Past, USERS, recorded_up_to};
use projector::{
    HoldingsProjection, InvestLogProjection, InvestorSummaryProjection, ProductListProjection,
};
use rstest::rstest;
use serde_json::Value;
use std::sync::Arc;

/// Steps of a history; each is up to some events at one time.
const STEPS: usize = 120;
/// Times that are asked for, beside the edges.
const TIMES: usize = 5;

#[rstest]
#[tokio::test]
async fn every_model_is_shown_as_the_live_one_was(#[values(1, 2)] seed: u64) {
    let mut past = Past::with_partitions(3, seed).await;
    past.happens(STEPS).await;
    for at in past.times(TIMES) {
        let positions = recorded_up_to(&past.events, at, 3);
        bring_to(&past, &ProductListProjection, &positions).await;
        bring_to(&past, &HoldingsProjection, &positions).await;
        bring_to(&past, &InvestLogProjection, &positions).await;
        bring_to(&past, &InvestorSummaryProjection, &positions).await;
        let at = past.time.format(at);
        let products = (
            past.public("", "/api/product?size=1000").await,
            past.audit(&format!("product?at={at}&size=1000")).await,
        );
        same_list(products, &positions, &at);
        for user in USERS.iter().chain(&["stranger"]) {
            same_views(&past, user, &at, &positions).await;
        }
    }
}

async fn same_views(past: &Past, user: &str, at: &str, positions: &[i64]) {
    let same = async |public: &str, audit: &str| {
        let audit = past.audit(&format!("{audit}userId={user}&at={at}")).await;
        same_list((past.public(user, public).await, audit), positions, at);
    };
    same("/api/product/my/invest?size=1000", "holdings?size=1000&").await;
    same("/api/invest/log?size=1000", "invest-log?size=1000&").await;
    same("/api/invest/log?productId=2", "invest-log?productId=2&").await;
    if user == USERS[0] {
        same(
            "/api/product/my/invest?size=1&page=1",
            "holdings?size=1&page=1&",
        )
        .await;
        same("/api/invest/log?size=3&page=1", "invest-log?size=3&page=1&").await;
        same("/api/invest/log?productId=999", "invest-log?productId=999&").await;
    }
    let summary = past.audit(&format!("summary?userId={user}&at={at}")).await;
    assert_eq!(
        summary["data"]["summary"],
        past.public(user, "/api/product/my/summary").await["data"],
        "{user} at {at}"
    );
    assert_eq!(summary["data"]["positions"], serde_json::json!(positions));
}

fn same_list((public, audit): (Value, Value), positions: &[i64], at: &str) {
    assert_eq!(audit["result"], true, "{audit}");
    let (public, audit) = (&public["data"], &audit["data"]);
    assert_eq!(audit["list"], public["list"], "at {at}");
    assert_eq!(audit["totalCount"], public["totalCount"], "at {at}");
    assert_eq!(audit["positions"], serde_json::json!(positions), "at {at}");
    assert_eq!(audit["at"], *at);
}

/// Lets the live projection follow the log up to these positions, and no further.
async fn bring_to<P: Projection + Clone>(past: &Past, projection: &P, positions: &[i64]) {
    for (partition, upto) in past.log.partitions().zip(positions) {
        let projection = Arc::new(projection.clone());
        let consumer = Consumer::new(past.log.clone(), past.pool.clone(), projection, partition);
        while matches!(consumer.step_to(*upto).await.unwrap(), Step::Moved(at) if at < *upto) {}
    }
}

/// What is compared above would differ by a single event.
#[tokio::test]
async fn one_event_less_is_seen() {
    let mut past = Past::with_partitions(2, 7).await;
    past.happens(60).await;
    let stands_last = |it: &&RecordedEvent| {
        recorded_up_to(&past.events, it.recorded_at, 2)[it.partition as usize] == it.position
    };
    let reserves = |it: &&RecordedEvent| matches!(it.event, ProductEvent::InvestReserved { .. });
    let last = past
        .events
        .iter()
        .rev()
        .filter(reserves)
        .find(stands_last)
        .unwrap()
        .clone();
    let ProductEvent::InvestReserved { user_id, .. } = &last.event else {
        panic!("{last:?}")
    };
    let at = past.time.format(last.recorded_at);
    let audit = past
        .audit(&format!("invest-log?size=1000&userId={user_id}&at={at}"))
        .await;
    let mut positions = recorded_up_to(&past.events, last.recorded_at, 2);
    positions[last.partition as usize] -= 1;
    bring_to(&past, &InvestLogProjection, &positions).await;
    let less = past
        .public(user_id.as_str(), "/api/invest/log?size=1000")
        .await;
    assert_ne!(audit["data"]["list"], less["data"]["list"]);
    positions[last.partition as usize] += 1;
    bring_to(&past, &InvestLogProjection, &positions).await;
    same_list(
        (
            past.public(user_id.as_str(), "/api/invest/log?size=1000")
                .await,
            audit,
        ),
        &positions,
        &at,
    );
}

/// The live read models are not read at all: here they are empty, and wrong.
#[tokio::test]
async fn the_live_read_models_are_of_no_account() {
    let mut past = Past::with_partitions(2, 9).await;
    past.happens(40).await;
    let at = past
        .time
        .format(past.events.last().unwrap().recorded_at + TimeDelta::microseconds(1));
    let ask = async || {
        let mut answers = vec![past.audit(&format!("product?at={at}")).await];
        for user in USERS {
            for model in ["holdings", "invest-log", "summary"] {
                answers.push(past.audit(&format!("{model}?userId={user}&at={at}")).await);
            }
        }
        answers
    };
    let empty = ask().await;
    past.execute(
        "insert into holdings values ('choi', 1, 77, now());
              insert into invest_log_user values ('choi', 1, 77, 77);
              insert into investor_summary values ('choi', 1, 1, 7, 7, 7, now(), now());
              insert into checkpoints (consumer, partition, position) values ('holdings', 0, 1);",
    )
    .await;
    assert_eq!(ask().await, empty);
    assert!(
        empty
            .iter()
            .any(|answer| answer["data"]["totalCount"].as_i64() > Some(3)),
        "{empty:?}"
    );
}
