//! Who read the audit: written down first, shown afterwards, or not at all.

use crate::asked::routes;
use audit::access::record_direct;
use connection_pool::Pool;
use edge::Role;
use rstest::rstest;
use serde_json::Value;
use testbed::TestLog;
use testbed::http::{Answer, call};

const ACCESS: &str = "/admin/audit/access";

async fn opened() -> TestLog {
    TestLog::with_partitions(4).await
}

async fn ask(test: &TestLog, reader: Role, path: &str) -> Answer {
    answer(test, Some(reader), path).await
}

async fn answer(test: &TestLog, reader: Option<Role>, path: &str) -> Answer {
    call(
        &routes(test, reader, None),
        "GET",
        path,
        &[("x-correlation-id", "asked-by-hand")],
    )
    .await
}

async fn page(test: &TestLog, query: &str) -> Value {
    let answer = ask(test, Role::Operator, &format!("{ACCESS}?{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["data"].clone()
}

/// Readings of known times, oldest first: `/1`, `/2`... a minute after each other.
async fn was_read(test: &TestLog, times: i64) {
    test.execute(&format!(
        "insert into audit_access (at, reader, method, path)
         select '2026-01-01T00:00:00Z'::timestamptz + make_interval(mins => n::int), 'AUDITOR', 'GET', '/' || n
           from generate_series(1, {times}) as n"
    ))
    .await;
}

async fn recorded(test: &TestLog) -> i64 {
    test.count("audit_access").await
}

fn paths(page: &Value) -> Vec<&str> {
    page["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["path"].as_str().unwrap())
        .collect()
}

/// The list's first row is the request that asked for it: it was written down before it was answered.
#[rstest]
#[case(Role::Operator, "OPERATOR")]
#[case(Role::Auditor, "AUDITOR")]
#[tokio::test]
async fn a_reading_is_written_down_before_it_is_answered(#[case] reader: Role, #[case] name: &str) {
    let test = opened().await;
    let path = "/admin/audit/access?limit=1&to=2100-01-01T00:00:00Z&why=because";
    let answer = ask(&test, reader, path).await;
    let body: Value = answer.json();
    let first = &body["data"]["list"][0];
    let of = |field: &str| first[field].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        (of("reader"), of("method"), of("path")),
        (name.into(), "GET".into(), path.into()),
        "{body}"
    );
    assert_eq!(
        (of("correlationId"), of("login")),
        ("asked-by-hand".into(), "postgres".into())
    );
    assert!(of("at").starts_with("20"), "{body}");
}

/// Whatever there is to be read below `/admin/audit`, also what is refused or not there.
#[rstest]
#[case("/admin/audit/event?limit=1")]
#[case("/admin/audit/export")]
#[case("/admin/audit/product/1")]
#[case("/admin/audit/product?at=garbage")]
#[case("/admin/audit/holdings?userId=ann")]
#[case("/admin/audit/invest-log?userId=ann")]
#[case("/admin/audit/summary?userId=ann")]
#[case("/admin/audit/invest/0192d3a0-0000-7000-8000-000000000001")]
#[case("/admin/audit/invest/garbage")]
#[case("/admin/audit/refusal")]
#[case("/admin/audit/verify")]
#[case("/admin/audit/prove/0192d3a0-0000-7000-8000-000000000001")]
#[case("/admin/audit/seal")]
#[case(ACCESS)]
#[tokio::test]
async fn what_cannot_be_written_down_is_not_shown(#[case] path: &str) {
    let test = opened().await;
    ask(&test, Role::Auditor, path).await;
    let written: String = sqlx::query_scalar("select path from audit_access")
        .fetch_one(&test.pool)
        .await
        .unwrap();
    assert_eq!(written, path);
    test.execute("alter table audit_access add check (reader <> 'AUDITOR') not valid")
        .await;
    let refused = ask(&test, Role::Auditor, path).await;
    assert_eq!(refused.status, 503, "{}", refused.body);
    let body: Value = refused.json();
    assert_eq!(
        (&body["code"], &body["data"]),
        (&"OVERLOADED".into(), &Value::Null)
    );
    assert_eq!(recorded(&test).await, 1);
    ask(&test, Role::Operator, path).await;
    assert_eq!(
        recorded(&test).await,
        2,
        "it is the auditor's that cannot be written down"
    );
}

/// The route is behind a guard; should there be none one day, nothing is shown either.
#[tokio::test]
async fn who_comes_from_nowhere_reads_nothing() {
    let test = opened().await;
    let answer = answer(&test, None, ACCESS).await;
    assert_eq!((answer.status, recorded(&test).await), (401, 0));
}

/// Steps: five readings; pages of two, while further ones come in; the pages go on where they were.
#[tokio::test]
async fn pages_go_on_where_they_were() {
    let test = opened().await;
    was_read(&test, 5).await;
    let first = page(&test, "to=2026-01-01T01:00:00Z&limit=2").await;
    assert_eq!(paths(&first), ["/5", "/4"]);
    page(&test, "").await;
    let next = |page: &Value| format!("limit=2&cursor={}", page["nextCursor"].as_str().unwrap());
    let second = page(&test, &next(&first)).await;
    let third = page(&test, &next(&second)).await;
    assert_eq!(
        (paths(&second), paths(&third)),
        (vec!["/3", "/2"], vec!["/1"])
    );
    assert_eq!(third["nextCursor"], Value::Null);
    let window = page(&test, "from=2026-01-01T00:02:00Z&to=2026-01-01T00:04:00Z").await;
    assert_eq!(
        paths(&window),
        ["/3", "/2"],
        "from its time on, before the other"
    );
}

/// Two at the very same time are told apart by what comes after the time in a cursor.
#[tokio::test]
async fn readings_of_one_moment_are_each_given_once() {
    let test = opened().await;
    was_read(&test, 3).await;
    test.execute("update audit_access set at = '2026-01-01T00:00:00Z'")
        .await;
    let first = page(&test, "to=2026-01-01T01:00:00Z&limit=2").await;
    let second = page(
        &test,
        &format!("limit=2&cursor={}", first["nextCursor"].as_str().unwrap()),
    )
    .await;
    assert_eq!(
        (paths(&first), paths(&second)),
        (vec!["/3", "/2"], vec!["/1"])
    );
}

#[rstest]
#[case("cursor=garbage", "cursor must be the nextCursor of an earlier answer")]
#[case("cursor=AAAA", "cursor must be the nextCursor of an earlier answer")]
#[case("limit=0", "limit must be a whole number from 1 to 1000")]
#[case("limit=1001", "limit must be a whole number from 1 to 1000")]
#[case("from=yesterday", "from must be a date-time")]
#[case("to=yesterday&limit=x", "to must be a date-time")]
#[tokio::test]
async fn what_cannot_be_read_is_named(#[case] query: &str, #[case] sentence: &str) {
    let test = opened().await;
    let answer = ask(&test, Role::Auditor, &format!("{ACCESS}?{query}")).await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains(sentence), "{}", answer.body);
}

#[tokio::test]
async fn of_a_long_query_the_beginning_is_kept() {
    let test = opened().await;
    ask(
        &test,
        Role::Auditor,
        &format!("{ACCESS}?limit=1&x={}", "y".repeat(5_000)),
    )
    .await;
    let kept: String = sqlx::query_scalar("select path from audit_access")
        .fetch_one(&test.pool)
        .await
        .unwrap();
    assert_eq!(
        (kept.len(), &kept[..28]),
        (2_000, "/admin/audit/access?limit=1&")
    );
}

#[tokio::test]
async fn who_reads_the_database_itself_is_written_down_by_login() {
    let test = opened().await;
    let options = (*test.pool.inner().connect_options())
        .clone()
        .options([("default_transaction_read_only", "on")]);
    let only_reads = Pool::from(sqlx::PgPool::connect_lazy_with(options));
    record_direct(&only_reads, "verify").await.unwrap();
    let written: (String, String, String) =
        sqlx::query_as("select reader, path, login from audit_access")
            .fetch_one(&test.pool)
            .await
            .unwrap();
    assert_eq!(
        written,
        ("DIRECT".into(), "verify".into(), "postgres".into())
    );
    test.execute("drop table audit_access").await;
    assert!(
        record_direct(&test.pool, "verify").await.is_err(),
        "then nothing is to be shown"
    );
}

/// What is 400 days old goes, at most a thousand at a time; what is younger stays.
#[tokio::test]
async fn readings_are_forgotten_after_400_days() {
    let test = opened().await;
    test.execute(
        "insert into audit_access (at, reader, method, path)
             select clock_timestamp() - make_interval(days => d), 'AUDITOR', 'GET', '/' || d
               from unnest(array[399, 401]) as d cross join generate_series(1, 1200)",
    )
    .await;
    let forget = "select forget_audit_access()";
    for expected in [1_000_i64, 200, 0] {
        let forgotten: i64 = sqlx::query_scalar(forget)
            .fetch_one(&test.pool)
            .await
            .unwrap();
        assert_eq!(forgotten, expected);
    }
    assert_eq!(recorded(&test).await, 1_200);
}
