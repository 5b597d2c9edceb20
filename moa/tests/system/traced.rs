//! Traces: what a request led to, at a collector.

mod collector;

use std::collections::BTreeSet;
use testbed::free_port;

use crate::harness::{Answer, Start, TEST_TIMEOUT, TestApp, ask, within};
use collector::{Collector, attribute};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";
const LARGE_TOTAL_WON: i64 = 1_000_000;

/// Everything in one process, whose spans go to this collector.
fn start(collector_url: &str) -> Start {
    Start::serve().env("OTEL_EXPORTER_OTLP_ENDPOINT", collector_url)
}

async fn invest_in(app: &TestApp, product: i64, traceparent: Option<&str>) -> Answer {
    let mut headers = vec![("X-USER-ID", "ann"), ("Content-Type", "application/json")];
    headers.extend(traceparent.map(|traceparent| ("traceparent", traceparent)));
    let body = format!(r#"{{"productId":{product},"investAmount":1}}"#);
    let answer = app.api(0).post("/api/invest", &headers, &body).await;
    assert_eq!(answer.code(), "01", "{}", answer.body);
    answer
}

async fn stored_traceparents(app: &TestApp) -> Vec<Option<String>> {
    let found = sqlx::query_scalar(
        "select metadata ->> 'traceparent' from events where event_type like 'Invest%' order by partition, position",
    );
    found.fetch_all(&app.pool).await.unwrap()
}

/// The value of a series, by its beginning; 0 where there is none.
async fn metric(app: &TestApp, series: &str) -> f64 {
    let metrics = reqwest::get(format!("{}/metrics", app.processes[0].ops)).await.unwrap().text().await.unwrap();
    let line = metrics.lines().find_map(|line| line.strip_prefix(series));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0.0)
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// And what is told of a trace that is not sampled is kept as it came.
#[tokio::test]
async fn a_trace_begins_at_moa_where_there_is_none_and_one_that_is_not_sampled_is_left_alone() {
    let collector = Collector::open().await;
    let mut app = TestApp::of(1, start(&collector.url())).await;
    let product = app.open_product("traced", LARGE_TOTAL_WON).await;
    let not_sampled = format!("00-{TRACE}-{CALLER}-00");
    invest_in(&app, product, Some(&not_sampled)).await;
    app.settled().await;
    invest_in(&app, product, None).await;
    app.settled().await;
    let stored = stored_traceparents(&app).await;
    let [root] = collector.has("POST /api/invest", 1).await.try_into().unwrap();
    assert!(root.parent_span_id.is_empty(), "{root:?}");
    let begun = format!("00-{}-{}-01", hex(&root.trace_id), hex(&root.span_id));
    assert_eq!(stored, [not_sampled.clone(), not_sampled, begun.clone(), begun].map(Some));
    // Of the reservation, and of its fate.
    for name in ["queue", "append events"] {
        let parts = collector.has(name, 2).await;
        assert!(parts.iter().all(|part| part.parent_span_id == root.span_id), "{parts:?}");
    }
    // Probes are no news.
    assert_eq!(app.api(0).get("/readyz").await.status, 200);
    invest_in(&app, product, None).await;
    assert!(app.processes.remove(0).stopped(TEST_TIMEOUT).await.status.success());
    assert_eq!(collector.named("POST /api/invest").len(), 2, "the last spans are sent before the process ends");
    let names: BTreeSet<_> = collector.received().into_iter().map(|received| received.span.name).collect();
    assert!(!names.iter().any(|name| name.contains("readyz") || name.contains("metrics")), "{names:?}");
    for received in collector.received() {
        assert_ne!(hex(&received.span.trace_id), TRACE, "{received:?}");
        assert_eq!(attribute(&received.resource, "service.name"), "moa");
    }
}

/// Steps: nobody listens where the collector should be; invests are accepted; spans are dropped and counted; the log has one line. Then the
/// collector comes, is sent what happens from then on, and the log has one line more.
#[tokio::test]
async fn a_collector_that_is_away_costs_spans_and_two_lines() {
    let port = free_port();
    let mut app = TestApp::of(1, start(&format!("http://127.0.0.1:{port}"))).await;
    let product = app.open_product("traced", LARGE_TOTAL_WON).await;
    let dropped = async || metric(&app, "moa_trace_spans_dropped_total{reason=\"unsent\"}").await;
    assert_eq!(dropped().await, 0.0);
    within(TEST_TIMEOUT, "spans to be dropped", async || {
        assert!(app.invest(ask("ann", product, 1)).await.is_accepted());
        (dropped().await > 0.0).then_some(())
    })
    .await;
    let collector = Collector::at(port).await;
    within(TEST_TIMEOUT, "spans at the collector", async || {
        assert!(app.invest(ask("ann", product, 1)).await.is_accepted());
        (!collector.named("POST /api/invest").is_empty()).then_some(())
    })
    .await;
    app.settled().await;
    let ended = app.processes.remove(0).stopped(TEST_TIMEOUT).await;
    let lines: Vec<_> = ended.err.lines().filter(|line| line.contains("collector")).collect();
    let [lost, back] = lines[..] else { panic!("{lines:#?}") };
    assert!(lost.contains(r#""level":"WARN""#) && lost.contains("takes no spans"), "{lost}");
    assert!(back.contains(r#""level":"INFO""#) && back.contains("takes spans again"), "{back}");
}

#[tokio::test]
async fn a_collector_that_cannot_be_is_refused_by_name() {
    for (endpoint, why) in [("collector:4317", "must begin with http://"), ("http://h?key=canary9d41", "its path")] {
        let ended = start(endpoint).on("postgres://nobody@127.0.0.1:1/none").end().await;
        assert!(!ended.status.success());
        assert!(ended.err.contains("OTEL_EXPORTER_OTLP_ENDPOINT") && ended.err.contains(why), "{}", ended.err);
        assert!(!ended.err.contains("canary9d41"), "{}", ended.err);
    }
}
