//! What cannot be answered is refused with a sentence; what is empty is empty.

use super::past::{Past, opened, reserved};
use chrono::{DateTime, TimeDelta, Utc};
use domain::InvestId;
use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;

const NOT_THERE: &str = "a0000000-0000-0000-0000-000000000000";

/// Product 2 is opened, and user choi reserves 7 of it a second later.
async fn seed() -> (Past, DateTime<Utc>) {
    let mut past = Past::with_partitions(2, 1).await;
    let opened_at = past.append(2, opened(2)).await.recorded_at;
    past.passes(TimeDelta::seconds(1));
    past.append(2, reserved(InvestId(Uuid::now_v7()), "choi", 7))
        .await;
    (past, opened_at)
}

#[rstest]
#[case(
    "product/2?sequence=3",
    "sequence is beyond the end of the stream, which has 2 events so far, was 3"
)]
#[case(
    "product/2?sequence=0",
    "sequence must be a whole number from 1, was 0"
)]
#[case(
    "product/2?sequence=1&at=2026-01-01T00:00:00",
    "sequence and at exclude each other: give one of them"
)]
#[case(
    "product/2?at=yesterday",
    "at must be a date-time such as 2021-10-17T00:00:00 or ...T00:00:00+09:00, was yesterday"
)]
#[case("product/x", "productId must be a whole number from 1, was x")]
#[case("holdings?userId=choi", "at is missing: give the time to look at")]
#[case("holdings?at=2026-01-01T00:00:00", "userId is missing")]
#[case("product", "at is missing: give the time to look at")]
#[case("summary?userId=a%20b&at=2026-01-01T00:00:00&size=0", "userId ")]
#[case(
    "invest-log?userId=choi&at=2026-01-01T00:00:00&productId=0&size=0",
    "productId must be a whole number from 1"
)]
#[tokio::test]
async fn what_cannot_be_answered_is_told(#[case] path: &str, #[case] words: &str) {
    let (past, _) = seed().await;
    let answer = past.audit(path).await;
    assert_eq!(
        (&answer["code"], &answer["status"]),
        (&json!("00"), &json!(400)),
        "{answer}"
    );
    let message = answer["message"].as_str().unwrap();
    assert!(message.contains(words), "{message}");
}

#[tokio::test]
async fn a_product_is_unknown_or_not_yet_opened() {
    let (past, opened_at) = seed().await;
    assert_eq!(past.audit("product/4").await["status"], 404);
    assert_eq!(past.audit("product/4?sequence=1").await["status"], 404);
    let before = past.time.format(opened_at - TimeDelta::microseconds(1));
    let answer = past.audit(&format!("product/2?at={before}")).await;
    let words = format!(
        "Invalid value : at is before the product was opened, at {}",
        past.time.format(opened_at)
    );
    assert_eq!(answer["message"], words);
    let exactly = past
        .audit(&format!("product/2?at={}", past.time.format(opened_at)))
        .await;
    assert_eq!(
        (&exactly["data"]["sequence"], &exactly["data"]["state"]),
        (&json!(1), &json!("ONGOING"))
    );
}

#[rstest]
#[case("product/2?")]
#[case("product?")]
#[case("holdings?userId=choi&")]
#[case("invest-log?userId=choi&")]
#[case("summary?userId=choi&")]
#[tokio::test]
async fn the_future_is_not_known(#[case] path: &str) {
    let (past, _) = seed().await;
    let tomorrow = past.time.format(Utc::now() + TimeDelta::days(1));
    let answer = past.audit(&format!("{path}at={tomorrow}")).await;
    assert_eq!(answer["status"], 400);
    assert!(
        answer["message"]
            .as_str()
            .unwrap()
            .contains("at must not be in the future; it is "),
        "{answer}"
    );
}

#[tokio::test]
async fn before_the_first_event_there_is_nothing() {
    let (past, opened_at) = seed().await;
    let before = past.time.format(opened_at - TimeDelta::microseconds(1));
    for path in [
        "product?",
        "holdings?userId=choi&",
        "invest-log?userId=choi&",
    ] {
        let data = past.audit(&format!("{path}at={before}")).await["data"].clone();
        assert_eq!(
            data,
            json!({"at": before, "positions": [0, 0], "totalCount": 0, "list": []}),
            "{path}"
        );
    }
    let summary = past
        .audit(&format!("summary?userId=choi&at={before}"))
        .await;
    assert_eq!(
        summary["data"]["summary"]["firstInvestDate"],
        Value::Null,
        "{summary}"
    );
}

#[tokio::test]
async fn the_product_list_goes_by_the_clock_of_then() {
    let (past, opened_at) = seed().await;
    // As if it had taken invests for the half an hour after its opening, and not until tomorrow.
    let finished = opened_at + TimeDelta::minutes(30);
    past.execute("alter table events disable trigger events_are_append_only")
        .await;
    past.execute(&format!(
        "update events set payload = jsonb_set(payload::jsonb, '{{ProductOpened,finishedAt}}', '\"{}\"')::json
          where sequence = 1",
        finished.to_rfc3339()
    ))
    .await;
    let count = async |at| {
        past.audit(&format!("product?at={}", past.time.format(at)))
            .await["data"]["totalCount"]
            .clone()
    };
    assert_eq!(count(opened_at).await, 1);
    assert_eq!(count(finished - TimeDelta::microseconds(1)).await, 1);
    assert_eq!(count(finished).await, 0);
}

#[tokio::test]
async fn a_stream_with_a_hole_is_not_shown() {
    let (mut past, _) = seed().await;
    past.append(2, reserved(InvestId(NOT_THERE.parse().unwrap()), "lee", 1))
        .await;
    past.execute("alter table events disable trigger events_are_append_only")
        .await;
    past.execute("delete from events where sequence = 2").await;
    let now = past.time.format(Utc::now());
    for path in [
        "product/2?",
        "product?",
        "invest-log?userId=lee&",
        "summary?userId=lee&",
    ] {
        let answer = past.audit(&format!("{path}at={now}")).await;
        assert_eq!(answer["status"], 409, "{answer}");
        assert!(
            answer["message"]
                .as_str()
                .unwrap()
                .starts_with("the log is broken at partition 0 position "),
            "{answer}"
        );
    }
}
