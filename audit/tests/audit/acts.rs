//! What operators did, as auditors are shown it.

use crate::asked::ask;
use event_log::acts::{ActBy, ActOutcome, Acts, NewAct};
use rstest::rstest;
use serde_json::{Value, json};
use testbed::TestLog;

/// Acts on `1`, `2`... by two operators in turn.
async fn with_acts(number: i64) -> TestLog {
    let test = TestLog::with_partitions(4).await;
    let acts = Acts::new(test.pool.clone());
    for n in 1..=number {
        let (actor, act) = if n % 2 == 1 {
            ("ann", "PAUSE")
        } else {
            ("bob", "RESUME")
        };
        let by = ActBy::Operator(actor.into());
        let act = NewAct {
            by,
            act,
            subject: n.to_string(),
            parameters: json!({"n": n}),
            correlation_id: None,
        };
        acts.perform(act, async {}, |()| ActOutcome::Refused("409".into()))
            .await
            .unwrap();
    }
    test
}

async fn page(test: &TestLog, query: &str) -> Value {
    let answer = ask(test, &format!("act?{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["data"].clone()
}

fn subjects(page: &Value) -> Vec<&str> {
    page["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["subject"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn an_act_and_its_outcome_are_one_line() {
    let test = with_acts(2).await;
    let page = page(&test, "").await;
    assert_eq!(
        (subjects(&page), &page["nextCursor"]),
        (vec!["2", "1"], &Value::Null)
    );
    let first = &page["list"][1];
    let expected = json!({"number": 1, "actor": "ann", "role": "OPERATOR", "act": "PAUSE", "subject": "1", "parameters": {"n": 1},
                          "correlationId": null, "login": "postgres", "outcome": "REFUSED", "result": {"code": "409"}});
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&first[name], value, "{name}: {first}");
    }
    assert!(first["at"].as_str() <= first["endedAt"].as_str(), "{first}");
}

#[tokio::test]
async fn an_act_without_an_outcome_is_shown_without_one() {
    let test = TestLog::with_one_partition().await;
    test.says("select moa_record_act('ann', 'OPERATOR', 'PAUSE', 'holdings', '{}', null, null, null)::text").await;
    let page = page(&test, "").await;
    let act = &page["list"][0];
    assert_eq!(
        (&act["outcome"], &act["result"], &act["endedAt"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
}

/// Steps: five acts; pages of two, while others come in; the pages go on where they were.
#[tokio::test]
async fn pages_go_on_where_they_were() {
    let test = with_acts(5).await;
    let first = page(&test, "limit=2").await;
    test.says(
        "select moa_record_act('ann', 'OPERATOR', 'PAUSE', 'later', '{}', null, null, null)::text",
    )
    .await;
    let next = |page: &Value| format!("limit=2&cursor={}", page["nextCursor"].as_str().unwrap());
    let second = page(&test, &next(&first)).await;
    let third = page(&test, &next(&second)).await;
    assert_eq!(
        [subjects(&first), subjects(&second), subjects(&third)],
        [vec!["5", "4"], vec!["3", "2"], vec!["1"]]
    );
    assert_eq!(third["nextCursor"], Value::Null);
}

#[tokio::test]
async fn a_filter_leaves_what_it_names() {
    let test = with_acts(4).await;
    assert_eq!(subjects(&page(&test, "actor=ann").await), ["3", "1"]);
    assert_eq!(subjects(&page(&test, "act=RESUME").await), ["4", "2"]);
    assert_eq!(
        subjects(&page(&test, "actor=ann&act=RESUME").await),
        [""; 0]
    );
    assert_eq!(
        subjects(&page(&test, "to=2020-01-01T00:00:00Z").await),
        [""; 0]
    );
    let third = test
        .says("select to_char(at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') from acts where number = 5");
    let third = third.await.remove(0);
    assert_eq!(
        subjects(&page(&test, &format!("from={third}")).await),
        ["4", "3"]
    );
    assert_eq!(
        subjects(&page(&test, &format!("to={third}")).await),
        ["2", "1"]
    );
}

#[rstest]
#[case("cursor=garbage", "cursor must be the nextCursor of an earlier answer")]
#[case("limit=0", "limit must be a whole number from 1 to 1000")]
#[case("act=SLEEP", "act must be one of OPEN_PRODUCT, CLOSE_PRODUCT")]
#[case("actor=", "actor must be 1 to 64 characters")]
#[case("from=yesterday", "from must be a date-time")]
#[tokio::test]
async fn what_cannot_be_read_is_named(#[case] query: &str, #[case] sentence: &str) {
    let test = TestLog::with_one_partition().await;
    let answer = ask(&test, &format!("act?{query}")).await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains(sentence), "{}", answer.body);
}
