//! The call: pages as JSON, everything as NDJSON or CSV, and what is refused.

use super::app::{TestApp, scanned};
use crate::asked::{routes, service_time};
use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use axum::response::Response;
use edge::Role;
use event_log::search::{Filter, Order};
use http_body_util::BodyExt as _;
use rstest::rstest;
use serde_json::{Value, json};
use tower::ServiceExt as _;

impl TestApp {
    async fn answer(&self, query: &str, accept: &str) -> Response {
        let routes = routes(self, Some(Role::Auditor), None);
        let request = Request::builder()
            .uri(format!("/admin/audit/event?{query}"))
            .header(header::ACCEPT, accept);
        routes
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap()
    }

    async fn text(&self, query: &str, accept: &str) -> String {
        let body = to_bytes(self.answer(query, accept).await.into_body(), usize::MAX)
            .await
            .unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    async fn json(&self, query: &str) -> Value {
        serde_json::from_str(&self.text(query, "application/json").await).unwrap()
    }

    /// All pages of a question.
    async fn pages(&self, query: &str) -> Vec<Value> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let answer = self.json(&format!("{query}&limit=70{cursor}")).await;
            all.extend(answer["data"]["list"].as_array().unwrap().iter().cloned());
            match answer["data"]["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return all,
            }
        }
    }
}

async fn app() -> TestApp {
    let mut app = TestApp::with_partitions(2, 11).await;
    app.happens(600).await;
    app.index().await;
    app.happens(60).await;
    app
}

#[tokio::test]
async fn an_event_has_all_that_is_stored() {
    let app = app().await;
    let answer = app.json("productId=3&limit=1").await;
    let stored = &app.log.raw_after(1, 0, 1_000).await.unwrap();
    let stored = stored
        .iter()
        .find(|event| event.aggregate_id == "3")
        .unwrap();
    let time = service_time();
    let expected = json!({
        "eventId": stored.event_id,
        "partition": 1,
        "position": stored.position,
        "productId": 3,
        "sequence": 1,
        "type": "ProductOpened",
        "version": "1.0.0",
        "payload": serde_json::from_str::<Value>(&stored.payload).unwrap(),
        "metadata": serde_json::from_str::<Value>(&stored.metadata).unwrap(),
        "recordedAt": time.format(stored.recorded_at),
        "hash": stored.hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
    });
    assert_eq!(answer["data"]["list"], json!([expected]));
    assert_eq!(
        (&answer["result"], &answer["status"]),
        (&json!(true), &json!(200))
    );
}

#[rstest]
#[case("order=asc")]
#[case("order=desc")]
#[case("userId=user3")]
#[case("userId=user3&order=desc")]
#[case("type=InvestFailed")]
#[case("productId=2&from=20&to=200")]
#[case("userId=nobody")]
#[tokio::test]
async fn a_stream_has_what_the_pages_have(#[case] query: &str) {
    let app = app().await;
    let pages = app.pages(query).await;
    let ndjson = app.text(query, "application/x-ndjson").await;
    let lines: Vec<Value> = ndjson
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines, pages);
    let csv = app.text(query, "text/csv").await;
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let names: Vec<_> = reader
        .headers()
        .unwrap()
        .iter()
        .map(str::to_owned)
        .collect();
    let in_csv: Vec<Value> = reader
        .records()
        .map(|row| event_of(&names, &row.unwrap()))
        .collect();
    assert_eq!(in_csv, pages);
    let first = app
        .text(&format!("{query}&limit=5"), "application/x-ndjson")
        .await;
    assert_eq!(first.lines().count(), pages.len().min(5));
}

/// A row of CSV as the event it is.
fn event_of(names: &[String], row: &csv::StringRecord) -> Value {
    let of = |(name, cell): (&String, &str)| {
        let is_json = [
            "partition",
            "position",
            "productId",
            "sequence",
            "payload",
            "metadata",
        ]
        .contains(&name.as_str());
        (
            name.clone(),
            if is_json {
                serde_json::from_str(cell).unwrap()
            } else {
                json!(cell)
            },
        )
    };
    names
        .iter()
        .zip(row.iter())
        .map(of)
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[tokio::test]
async fn a_stream_may_begin_where_a_page_ended() {
    let app = app().await;
    let page = app.json("limit=100").await;
    let rest = format!("cursor={}", page["data"]["nextCursor"].as_str().unwrap());
    let rest = app.text(&rest, "application/x-ndjson").await;
    assert_eq!(rest.lines().count(), app.events().await.len() - 100);
}

/// In memory there is a page at a time, whatever there is to stream: chunks are no larger, and come as they are taken.
#[tokio::test]
async fn a_stream_comes_in_bounded_pieces() {
    let mut app = TestApp::with_partitions(1, 1).await;
    app.reserves(1, "kim", 5_000).await;
    let mut body = app
        .answer("order=desc", "application/x-ndjson")
        .await
        .into_body();
    let mut pieces = Vec::new();
    while let Some(frame) = body.frame().await {
        let piece = frame.unwrap().into_data().unwrap();
        pieces.push(piece.iter().filter(|byte| **byte == b'\n').count());
    }
    assert_eq!(pieces.iter().sum::<usize>(), 5_000);
    assert_eq!(*pieces.iter().max().unwrap(), 1_000);
}

/// The log becomes unreadable while a stream is on its way: the body ends in an error, not as if it were whole.
#[tokio::test]
async fn a_stream_that_breaks_off_does_not_end_well() {
    let mut app = TestApp::with_partitions(1, 1).await;
    app.reserves(1, "kim", 5_000).await;
    let mut body = app.answer("", "text/csv").await.into_body();
    assert!(body.frame().await.unwrap().is_ok());
    app.execute("alter table events rename to elsewhere").await;
    let mut last = None;
    while let Some(frame) = body.frame().await {
        let failed = frame.is_err();
        last = Some(frame);
        if failed {
            break;
        }
    }
    assert!(last.unwrap().is_err());
}

#[rstest]
#[case("productId=0", "productId must be a whole number from 1, was 0")]
#[case(
    "productId=x",
    "productId must be a whole number without quotes, fraction or exponent, was x"
)]
#[case("userId=", "userId must be 1 to 100 of A-Z a-z 0-9 . _ -, was ")]
#[case(
    "userId=a%20b",
    "userId must be 1 to 100 of A-Z a-z 0-9 . _ -, was a b"
)]
#[case("investId=1", "investId must be a uuid, was 1")]
#[case(
    "type=Opened",
    "type must be one of ProductOpened, InvestReserved, InvestSettled, InvestFailed, InvestWithdrawn, InvestRefunded, \
     ProductClosed, ProductCancelled, ProductFailed, was Opened"
)]
#[case("correlationId=", "correlationId must be 1 to 256 characters, was ")]
#[case(
    "from=0",
    "from must be a position, a whole number from 1 to 9223372036854775807, was 0"
)]
#[case(
    "to=01",
    "to must be a position, a whole number from 1 to 9223372036854775807, was 01"
)]
#[case(
    "from=9223372036854775808",
    "from must be a position, a whole number from 1 to 9223372036854775807, was 9223372036854775808"
)]
#[case(
    "from=-1",
    "from must be a date-time such as 2021-10-17T00:00:00 or ...T00:00:00+09:00, or a position, a whole number from 1, was -1"
)]
#[case(
    "to=yesterday",
    "to must be a date-time such as 2021-10-17T00:00:00 or ...T00:00:00+09:00, or a position, a whole number from 1, was yesterday"
)]
#[case("partition=2", "partition must be a whole number from 0 to 1, was 2")]
#[case("partition=-1", "partition must be a whole number from 0 to 1, was -1")]
#[case("limit=0", "limit must be a whole number from 1 to 1000, was 0")]
#[case("limit=1001", "limit must be a whole number from 1 to 1000, was 1001")]
#[case("order=up", "order must be asc or desc, was up")]
#[case("order=asc&order=asc", "order is repeated")]
#[case(
    "cursor=x",
    "cursor is not of this log, filter and order: send it as it was given, with the same parameters, or leave it out, was x"
)]
#[case(
    "userId=a%20b&limit=0",
    "userId must be 1 to 100 of A-Z a-z 0-9 . _ -, was a b; limit must be a whole number from 1 to 1000, was 0"
)]
#[tokio::test]
async fn bad_input_is_named(#[case] query: &str, #[case] sentence: &str) {
    let app = TestApp::with_partitions(2, 1).await;
    let answer = app.json(query).await;
    assert_eq!(
        (&answer["status"], &answer["code"]),
        (&json!(400), &json!("00"))
    );
    assert_eq!(answer["message"], format!("Invalid value : {sentence}"));
}

#[tokio::test]
async fn a_cursor_is_for_its_own_question() {
    let app = app().await;
    let first = app.json("userId=user3&limit=3").await;
    let next = first["data"]["nextCursor"].as_str().unwrap();
    for (query, status) in [
        (format!("userId=user3&limit=9&cursor={next}"), 200),
        (format!("userId=user4&cursor={next}"), 400),
        (format!("userId=user3&order=desc&cursor={next}"), 400),
        (format!("userId=user3&to=5&cursor={next}"), 400),
        (format!("cursor={next}"), 400),
    ] {
        assert_eq!(app.json(&query).await["status"], status, "{query}");
    }
    let other = app_of_another_log()
        .await
        .json(&format!("userId=user3&cursor={next}"))
        .await;
    assert_eq!(other["status"], 400);
}

async fn app_of_another_log() -> TestApp {
    TestApp::with_partitions(2, 12).await
}

/// Times come in as elsewhere, and a bound in the future is no trouble.
#[tokio::test]
async fn bounds_are_times_or_positions() {
    let app = app().await;
    let all = app.events().await;
    let middle = scanned(&all, &Filter::default(), Order::Ascending)[300];
    let event = all
        .iter()
        .find(|event| (event.partition, event.position) == middle)
        .unwrap();
    let time = service_time();
    let count = async |query: String| app.pages(&query).await.len();
    let (local, utc) = (
        time.format(event.recorded_at),
        event.recorded_at.to_rfc3339().replace("+00:00", "Z"),
    );
    let before = count(format!("to={local}")).await;
    assert_eq!(
        before,
        all.iter()
            .filter(|it| it.recorded_at < event.recorded_at)
            .count()
    );
    assert_eq!(count(format!("to={utc}")).await, before);
    assert_eq!(count(format!("from={local}")).await, all.len() - before);
    assert_eq!(count(format!("from={local}&to={local}")).await, 0);
    assert_eq!(count("from=7&to=9".into()).await, 6);
    assert_eq!(count("from=2900-01-01T00:00:00".into()).await, 0);
    assert_eq!(count("to=9223372036854775807".into()).await, all.len());
    assert_eq!(count("from=9223372036854775807".into()).await, 0);
}
