//! One product as it stood, against a fold that knows nothing of the domain's.

use super::past::{PRODUCTS, Past, opened};
use chrono::{DateTime, TimeDelta, Utc};
use domain::{ProductEvent, Terms};
use event_log::RecordedEvent;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

#[tokio::test]
async fn a_product_is_what_its_events_up_to_then_make_it() {
    let mut past = Past::with_partitions(3, 5).await;
    past.happens(150).await;
    let times = past.times(10);
    for product in 1..=PRODUCTS {
        let stream: Vec<_> = past
            .events
            .iter()
            .filter(|it| it.product_id.get() == product)
            .cloned()
            .collect();
        for at in &times {
            let answer = past
                .audit(&format!("product/{product}?at={}", past.time.format(*at)))
                .await;
            let upto: Vec<_> = stream.iter().filter(|it| it.recorded_at <= *at).collect();
            check(&answer, &past, &upto, Some(*at));
        }
        for sequence in 1..=stream.len() {
            let answer = past
                .audit(&format!("product/{product}?sequence={sequence}"))
                .await;
            check(
                &answer,
                &past,
                &stream[..sequence].iter().collect::<Vec<_>>(),
                None,
            );
        }
        let now = past.audit(&format!("product/{product}")).await;
        assert_eq!(now["data"]["sequence"], stream.len(), "{now}");
    }
}

fn check(answer: &Value, past: &Past, events: &[&RecordedEvent], at: Option<DateTime<Utc>>) {
    let Some(last) = events.last() else {
        assert_eq!(
            (&answer["result"], &answer["data"]),
            (&json!(false), &Value::Null)
        );
        return;
    };
    let mut state = BTreeMap::new();
    let (mut closed, mut cancelled, mut title, mut window) = (false, None, String::new(), None);
    for event in events {
        match &event.event {
            ProductEvent::ProductOpened {
                title: given,
                started_at,
                finished_at,
                ..
            } => {
                title = given.as_str().into();
                window = Some((*started_at, *finished_at));
            }
            ProductEvent::InvestReserved {
                invest_id,
                user_id,
                amount,
                ..
            } => {
                state.insert(invest_id.0, (user_id.as_str(), amount.won(), "open"));
            }
            ProductEvent::InvestSettled { invest_id, .. } => {
                state.get_mut(&invest_id.0).unwrap().2 = "settled"
            }
            ProductEvent::InvestFailed { invest_id, .. } => {
                state.get_mut(&invest_id.0).unwrap().2 = "failed"
            }
            ProductEvent::InvestWithdrawn { invest_id, .. } => {
                state.get_mut(&invest_id.0).unwrap().2 = "withdrawn"
            }
            ProductEvent::InvestRefunded { invest_id, .. } => {
                state.get_mut(&invest_id.0).unwrap().2 = "refunded"
            }
            ProductEvent::ProductClosed {} => closed = true,
            ProductEvent::ProductCancelled { reason } => cancelled = Some(reason.as_str()),
            ProductEvent::ProductFailed { .. } => panic!("no product has a target"),
        }
    }
    let sum = |of: &str| {
        state
            .values()
            .filter(|it| it.2 == of)
            .map(|it| it.1)
            .sum::<i64>()
    };
    let count = |of: &str| state.values().filter(|it| it.2 == of).count();
    let users: BTreeSet<_> = state
        .values()
        .filter(|it| ["open", "settled"].contains(&it.2))
        .map(|it| it.0)
        .collect();
    let (started_at, finished_at) = window.unwrap();
    let word = |at| match () {
        () if cancelled.is_some() => "CANCELLED",
        () if closed => "CLOSED",
        () if at < started_at => "UPCOMING",
        () if at >= finished_at => "FINISHED",
        () => "ONGOING",
    };
    let mut expected = json!({
        "productId": last.product_id.get(), "title": title, "totalInvestingAmount": 100_000,
        "currentInvestingAmount": sum("open") + sum("settled"), "reservedAmount": sum("open"),
        "settledAmount": sum("settled"), "investingCnt": users.len(), "openCount": count("open"),
        "settledCount": count("settled"), "failedCount": count("failed"),
        "withdrawnCount": count("withdrawn"), "refundedCount": count("refunded"), "targetMissed": false,
        "startedAt": past.time.format(started_at), "finishedAt": past.time.format(finished_at), "closed": closed,
        "state": at.map(word), "at": at.map(|at| past.time.format(at)), "sequence": last.sequence,
        "partition": last.partition, "position": last.position, "eventId": last.event_id.to_string(),
        "recordedAt": past.time.format(last.recorded_at),
    });
    if let Some(reason) = cancelled {
        expected["cancelReason"] = json!(reason);
    }
    assert_eq!(answer["data"], expected, "{answer}");
}

#[tokio::test]
async fn a_failed_product_is_shown_with_its_terms() {
    let mut past = Past::with_partitions(1, 1).await;
    let ProductEvent::ProductOpened {
        product_id,
        title,
        total_investing_amount,
        started_at,
        finished_at,
        ..
    } = opened(1)
    else {
        unreachable!()
    };
    let (target_amount, withdrawable_until) = (
        600.try_into().unwrap(),
        "2026-01-01T00:00:00Z".parse().unwrap(),
    );
    let terms = Terms {
        target_amount: Some(target_amount),
        withdrawable_until: Some(withdrawable_until),
        ..Terms::default()
    };
    let opened = ProductEvent::ProductOpened {
        product_id,
        title,
        total_investing_amount,
        started_at,
        finished_at,
        terms,
    };
    past.append(1, opened).await;
    past.append(
        1,
        ProductEvent::ProductFailed {
            target_amount,
            reached_amount: 0,
        },
    )
    .await;
    let answer = past.audit("product/1").await;
    let shown = ["state", "targetMissed", "terms"].map(|field| answer["data"][field].clone());
    let terms =
        json!({"targetAmount": 600, "withdrawableUntil": past.time.format(withdrawable_until)});
    assert_eq!(shown, [json!("FAILED"), json!(true), terms]);
}

/// Longer than what is read at once, so that pages meet.
#[tokio::test]
async fn a_long_stream_is_read_in_pages() {
    let past = Past::with_partitions(1, 6).await;
    past.execute(
        "insert into events
         select 'product', '1', n, case n when 1 then 'ProductOpened' else 'InvestReserved' end, '1.0.0',
                case n when 1
                then '{\"ProductOpened\":{\"productId\":1,\"title\":\"long\",\"totalInvestingAmount\":100000,\"startedAt\":\"2026-01-01T00:00:00Z\",\"finishedAt\":\"2026-01-02T00:00:00Z\"}}'
                else format('{\"InvestReserved\":{\"investId\":\"%s\",\"userId\":\"u%s\",\"amount\":3,\"expiresAt\":\"2026-01-01T00:00:00Z\"}}', gen_random_uuid(), n % 700) end::json,
                '{\"correlationId\":\"c\"}', 0, n, gen_random_uuid(), '2026-01-01T00:00:00Z'::timestamptz + n * interval '1 ms',
                sha256(n::text::bytea)
           from generate_series(1, 12_345) as n".replace("12_345", "12345").as_str(),
    )
    .await;
    let answer = past.audit("product/1?sequence=10001").await;
    assert_eq!(
        (
            &answer["data"]["investingCnt"],
            &answer["data"]["reservedAmount"]
        ),
        (&json!(700), &json!(30_000)),
        "{answer}"
    );
    let answer = past.audit("product/1").await;
    assert_eq!(
        (&answer["data"]["openCount"], &answer["data"]["state"]),
        (&json!(12_344), &json!("FINISHED")),
        "{answer}"
    );
    let first: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
    let at = past.time.format(first + TimeDelta::milliseconds(5_000));
    assert_eq!(
        past.audit(&format!("product/1?at={at}")).await["data"]["sequence"],
        5_000
    );
}
