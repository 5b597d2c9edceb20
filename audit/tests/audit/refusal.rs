//! What was refused is listed by any filter, in pages that stay whole while more is written; and how much is missing.

use crate::asked::ask;
use audit::REFUSAL_RETENTION_DAYS;
use rstest::rstest;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use testbed::TestLog;

/// The n-th of many: every second one of them was decided at the same time as the one before.
const MANY: &str = "insert into refusals
    select timestamptz '2026-03-01T10:00:00Z' + make_interval(secs => n / 2), gen_random_uuid(), 'user' || n % 7,
           1 + n % 5, n, (array['SOLD_OUT', 'NOT_STARTED', 'FINISHED'])[1 + n % 3],
           case when n % 3 = 0 then n end, 1, n, 0, 'c' || n";

async fn with_many(from: i32, to: i32) -> TestLog {
    let test = TestLog::with_partitions(4).await;
    adds(&test, from, to).await;
    test
}

async fn adds(test: &TestLog, from: i32, to: i32) {
    test.execute(&format!("{MANY} from generate_series({from}, {to}) n"))
        .await;
}

/// What a plain scan says, in amounts: they tell them apart.
async fn scanned(test: &TestLog, of: &str) -> Vec<i64> {
    sqlx::query_scalar(&format!("select amount from {of}"))
        .fetch_all(&test.pool)
        .await
        .unwrap()
}

async fn asks(test: &TestLog, query: &str) -> Value {
    ask(test, &format!("refusal?{query}")).await.json()
}

async fn data(test: &TestLog, query: &str) -> Value {
    let answer = asks(test, query).await;
    assert_eq!(answer["result"], true, "{query}: {answer}");
    answer["data"].clone()
}

fn amounts(data: &Value) -> Vec<i64> {
    data["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["amount"].as_i64().unwrap())
        .collect()
}

#[tokio::test]
async fn a_refusal_is_shown_whole() {
    let test = TestLog::with_partitions(4).await;
    test.execute(
        "insert into refusals values
             ('2026-03-01T10:00:00.123456Z', '019a2b0e-6a52-7c3e-9d0b-0c6f0f2f7a11', 'user1', 7, 100, 'SOLD_OUT', 40, 3,
              12, 5, 'c-1'),
             ('2026-03-01T10:00:01Z', '019a2b0e-6a52-7c3e-9d0b-0c6f0f2f7a12', 'user2', 8, 200, 'CLOSED', null, 0, 0,
              null, 'c-2');
             insert into recorder_drops values
             ('REFUSAL', 'FULL', 3, '2026-03-01T09:59:59Z', '2026-03-01T10:00:00Z'),
             ('REFUSAL', 'FULL', 4, '2026-03-01T10:00:00Z', '2026-03-01T10:00:02Z'),
             ('REFUSAL', 'DATABASE', 5, '2026-03-01T10:00:00Z', '2026-03-01T10:00:01Z'),
             ('PAYMENT_CALL', 'FULL', 6, '2026-03-01T10:00:00Z', '2026-03-01T10:00:01Z')",
    )
    .await;
    let first = json!({
        "refusedAt": "2026-03-01T19:00:00.123456", "investId": "019a2b0e-6a52-7c3e-9d0b-0c6f0f2f7a11",
        "userId": "user1", "productId": 7, "amount": 100, "code": "SOLD_OUT", "remaining": 40, "partition": 3,
        "head": 12, "place": 5, "correlationId": "c-1",
    });
    let second = json!({
        "refusedAt": "2026-03-01T19:00:01", "investId": "019a2b0e-6a52-7c3e-9d0b-0c6f0f2f7a12",
        "userId": "user2", "productId": 8, "amount": 200, "code": "CLOSED", "remaining": null, "partition": 0,
        "head": 0, "place": null, "correlationId": "c-2",
    });
    let dropped = json!([
        {"reason": "DATABASE", "count": 5, "from": "2026-03-01T19:00:00", "to": "2026-03-01T19:00:01"},
        {"reason": "FULL", "count": 7, "from": "2026-03-01T18:59:59", "to": "2026-03-01T19:00:02"},
    ]);
    let all = json!({"list": [first, second], "nextCursor": null, "dropped": dropped, "keptDays": REFUSAL_RETENTION_DAYS});
    assert_eq!(data(&test, "").await, all);
    // Of the asked time only.
    let later = data(&test, "from=2026-03-01T19:00:01.5").await;
    let left = json!([{"reason": "FULL", "count": 4, "from": "2026-03-01T19:00:00", "to": "2026-03-01T19:00:02"}]);
    assert_eq!((&later["list"], &later["dropped"]), (&json!([]), &left));
    let earlier = data(&test, "to=2026-03-01T19:00:00").await;
    let left = json!([{"reason": "FULL", "count": 3, "from": "2026-03-01T18:59:59", "to": "2026-03-01T19:00:00"}]);
    assert_eq!((&earlier["list"], &earlier["dropped"]), (&json!([]), &left));
}

#[rstest]
#[case("", "true")]
#[case("productId=2", "product_id = 2")]
#[case("userId=user3", "user_id = 'user3'")]
#[case("userId=nobody", "false")]
#[case("code=SOLD_OUT", "code = 'SOLD_OUT'")]
#[case("code=CLOSED", "false")]
#[case("from=2026-03-01T19:01:00", "refused_at >= '2026-03-01T10:01:00Z'")]
#[case("to=2026-03-01T10:01:00Z", "refused_at < '2026-03-01T10:01:00Z'")]
#[case("productId=2&userId=user3", "product_id = 2 and user_id = 'user3'")]
#[case(
    "productId=3&code=FINISHED&from=2026-03-01T10:00:10Z&to=2026-03-01T10:02:00Z",
    "product_id = 3 and code = 'FINISHED' and refused_at >= '2026-03-01T10:00:10Z'
     and refused_at < '2026-03-01T10:02:00Z'"
)]
#[tokio::test]
async fn filters_combine_and_pages_in_either_order_agree_with_a_scan(
    #[case] query: &str,
    #[case] scan: &str,
) {
    let test = with_many(1, 300).await;
    for order in ["asc", "desc"] {
        let sorted =
            format!("refusals where {scan} order by refused_at {order}, invest_id {order}");
        let expected = scanned(&test, &sorted).await;
        for limit in [1, 7, 100, 1_000]
            .into_iter()
            .filter(|limit| *limit > 1 || expected.len() < 30)
        {
            let (mut found, mut cursor) = (Vec::new(), String::new());
            loop {
                let data = data(
                    &test,
                    &format!("{query}&order={order}&limit={limit}{cursor}"),
                )
                .await;
                found.extend(amounts(&data));
                let Some(next) = data["nextCursor"].as_str() else {
                    break;
                };
                assert_eq!(data["list"].as_array().unwrap().len(), limit);
                cursor = format!("&cursor={next}");
            }
            assert_eq!(found, expected, "{query} {order} by {limit}");
        }
    }
}

/// 1. Pages are read while refusals are written, at either end and in the middle.
/// 2. What was there at the first page is given once, whatever else is.
#[rstest]
#[tokio::test]
async fn what_was_there_is_given_once_while_more_is_written(#[values("asc", "desc")] order: &str) {
    let test = with_many(101, 300).await;
    let there: BTreeSet<_> = scanned(&test, "refusals").await.into_iter().collect();
    let (mut found, mut cursor, mut page) = (Vec::new(), String::new(), 0);
    loop {
        let data = data(&test, &format!("order={order}&limit=20{cursor}")).await;
        found.extend(amounts(&data));
        let Some(next) = data["nextCursor"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
        page += 1;
        if page <= 5 {
            adds(&test, page * 10, page * 10 + 9).await;
            adds(&test, 300 + page * 10, 309 + page * 10).await;
            // The same times as those that are there.
            adds(&test, 100_001 + page, 100_001 + page).await;
            test.execute(
                "update refusals set refused_at = '2026-03-01T10:01:30Z' where amount > 100000",
            )
            .await;
        }
    }
    let once: BTreeSet<_> = found.iter().copied().collect();
    assert_eq!(once.len(), found.len(), "something is given twice");
    assert!(there.is_subset(&once), "something is missing");
    assert!(
        once.len() > there.len(),
        "what came meanwhile is given where it comes later"
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_all_at_once() {
    let test = with_many(1, 10).await;
    let said = async |query: &str| {
        let answer = asks(&test, query).await;
        assert_eq!(
            (&answer["status"], &answer["code"]),
            (&json!(400), &json!("00")),
            "{query}: {answer}"
        );
        answer["message"].as_str().unwrap().to_owned()
    };
    let all = said("productId=0&userId=a%20b&code=sold_out&from=x&to=&order=up&limit=1001").await;
    let named = [
        "productId",
        "userId",
        "code",
        "from",
        "to",
        "order",
        "limit",
    ];
    assert!(
        named
            .iter()
            .all(|name| all.contains(&format!("{name} must be"))),
        "{all}"
    );
    assert!(
        said("limit=0")
            .await
            .contains("limit must be a whole number from 1 to 1000")
    );

    let cursor = data(&test, "limit=1").await["nextCursor"]
        .as_str()
        .unwrap()
        .to_owned();
    data(&test, &format!("limit=5&cursor={cursor}")).await;
    for query in [
        "cursor=".to_owned(),
        "cursor=garbage".to_owned(),
        format!("cursor={}", &cursor[1..]),
        format!("cursor={cursor}&order=desc"),
        format!("cursor={cursor}&productId=1"),
    ] {
        let said = said(&query).await;
        assert!(
            said.contains("cursor must be the nextCursor of an answer to the same question"),
            "{said}"
        );
    }
}
