//! What a process logs when nobody sits at its terminal.

use serde_json::Value;
use uuid::Uuid;

use crate::harness::{TEST_TIMEOUT, TestApp, ask};

/// Steps: a read model's table is taken away, so that its reads fail; a client reads with a correlation id; the answer
/// has the id and no internals; the log has one JSON line with the id and the cause.
#[tokio::test]
async fn a_failing_request_is_told_by_its_correlation_id_and_its_cause_is_in_the_log_only() {
    let mut app = TestApp::open().await;
    sqlx::query("alter table holdings rename to taken_away")
        .execute(&app.pool)
        .await
        .unwrap();
    let id = "a-failing-request-1";
    let headers = [
        ("X-USER-ID", "secret-user-canary"),
        ("X-Correlation-Id", id),
    ];
    let answer = app
        .api(0)
        .read_with("/api/product/my/invest", &headers)
        .await;
    let expected = format!(
        r#"{{"result":false,"code":"500","message":"Internal error : {id}","data":null,"status":500}}"#
    );
    assert_eq!(
        (
            answer.status,
            answer.body.as_str(),
            answer.header("x-correlation-id")
        ),
        (500, &*expected, Some(id))
    );

    let ended = app.processes.remove(0).stopped(TEST_TIMEOUT).await;
    let lines: Vec<Value> = ended
        .err
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    let told: Vec<_> = lines
        .iter()
        .filter(|line| line.to_string().contains(id))
        .collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        (&told[0]["level"], &told[0]["span"]["correlation_id"]),
        (&"ERROR".into(), &id.into())
    );
    assert!(
        told[0]["error"].as_str().unwrap().contains("holdings"),
        "{}",
        told[0]
    );
    assert!(!ended.err.contains("secret-user-canary"), "{}", ended.err);
    let whole = |line: &Value| {
        ["timestamp", "level", "message", "target"]
            .iter()
            .all(|field| line[field].is_string())
    };
    assert!(lines.iter().all(whole), "{lines:?}");
}

/// An event goes back to its request, and its fate to the reservation.
#[tokio::test]
async fn the_correlation_id_and_the_trace_go_with_the_events() {
    let app = TestApp::open().await;
    let product = app.open_product("traced", 100).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = [
        ("X-USER-ID", "ann"),
        ("Content-Type", "application/json"),
        ("X-Correlation-Id", "traced-1"),
        ("traceparent", trace),
    ];
    let body = format!(r#"{{"productId":{product},"investAmount":1}}"#);
    let answer = app.api(0).post("/api/invest", &headers, &body).await;
    assert_eq!(
        (answer.code().as_str(), answer.header("x-correlation-id")),
        ("01", Some("traced-1"))
    );
    app.settled().await;
    let events: Vec<(String, Uuid, String)> = sqlx::query_as(
        "select event_type, event_id, metadata::text from events
          where metadata ->> 'correlationId' = 'traced-1' order by position",
    )
    .fetch_all(&app.pool)
    .await
    .unwrap();
    let [(reserved, cause, of_reservation), (settled, _, of_fate)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(
        (reserved.as_str(), settled.as_str()),
        ("InvestReserved", "InvestSettled")
    );
    let metadata = |text: &str| -> Value { serde_json::from_str(text).unwrap() };
    assert_eq!(metadata(of_reservation)["traceparent"], trace);
    assert_eq!(metadata(of_fate)["causationId"], cause.to_string());
}

/// Ordinary business is no reason to log anything at `warn` or above.
#[tokio::test]
async fn refusals_are_no_news() {
    let mut app = TestApp::open().await;
    let product = app.open_product("quiet", 10).await;
    assert!(
        app.invest(ask("ann", product, 11))
            .await
            .is_refused("SOLD_OUT")
    );
    assert!(
        app.invest(ask("ann", 999, 1))
            .await
            .is_refused("NOT_EXIST_PRODUCT")
    );
    assert_eq!(app.api(0).get("/nowhere").await.status, 404);
    let ended = app.processes.remove(0).stopped(TEST_TIMEOUT).await;
    let loud =
        |line: &&str| line.contains(r#""level":"WARN""#) || line.contains(r#""level":"ERROR""#);
    // Logins are the whole server's: another test may have made one just then.
    let of_another_test = |line: &&str| line.contains("the login moa_test_");
    assert_eq!(
        ended
            .err
            .lines()
            .filter(loud)
            .find(|line| !of_another_test(line)),
        None
    );
}
