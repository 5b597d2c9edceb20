//! Traces: what a request led to, at a collector.

mod collector;

use futures::future::join_all;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use testbed::free_port;
use testbed::payments::Payments;
use uuid::Uuid;

use crate::harness::{
    Answer, Start, TEST_TIMEOUT, TestApp, ask, consumers, read_models, servers, within,
};
use collector::{Collector, attribute};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";
const LARGE_TOTAL_WON: i64 = 1_000_000;
/// Far above what an accept takes, far below what a silent collector would cost.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(3);
/// More spans than wait in Moa's queue.
const MANY_INVESTS: usize = 900;
const CLIENTS: usize = 30;

/// Everything in one process, whose spans go to this collector.
fn start(collector_url: &str) -> Start {
    Start::serve().env("OTEL_EXPORTER_OTLP_ENDPOINT", collector_url)
}

/// The same where only callers decide what is sampled.
fn start_with_callers_traces(collector: &Collector) -> Start {
    start(&collector.url()).env("OTEL_TRACES_SAMPLER", "parentbased_always_off")
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
    let metrics = reqwest::get(format!("{}/metrics", app.processes[0].ops))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let line = metrics.lines().find_map(|line| line.strip_prefix(series));
    line.and_then(|value| value.trim().parse().ok())
        .unwrap_or(0.0)
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_a(span: &Span, kind: SpanKind, attributes: &[(&str, &str)]) {
    assert_eq!(span.kind(), kind, "{span:?}");
    for (name, value) in attributes {
        assert_eq!(
            attribute(&span.attributes, name),
            *value,
            "{name}: {span:?}"
        );
    }
}

/// Steps: RabbitMQ delivers to every consumer of the product's partition; an invest with a caller's trace is accepted, paid over HTTP and
/// settled; every span that comes to the collector is of that trace and a part of the request's span, which is a part of the caller's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invest_is_one_trace_through_log_rabbitmq_every_projection_and_the_provider() {
    let (collector, payments, (amqp, redis)) =
        (Collector::open().await, Payments::open().await, servers());
    let start = start_with_callers_traces(&collector)
        .env("AMQP_URL", &amqp)
        .env("REDIS_URL", &redis);
    let start = start.env("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=a%20tenant");
    let start = start
        .env("MOA_PAYMENT_PROVIDER", "http")
        .env("MOA_PAYMENT_URL", &payments.url());
    let app = TestApp::of(1, start).await;
    let product = app.open_product("traced", LARGE_TOTAL_WON).await;
    for consumer in [consumers(), vec!["counters"]].concat() {
        let series = format!("moa_deliveries_total{{consumer=\"{consumer}\"}}");
        within(TEST_TIMEOUT, &series, async || {
            (metric(&app, &series).await > 0.0).then_some(())
        })
        .await;
    }

    let answer = invest_in(&app, product, Some(&format!("00-{TRACE}-{CALLER}-01"))).await;
    let invest: Uuid = answer.header("x-invest-id").unwrap().parse().unwrap();
    app.settled().await;
    for name in read_models().chain(["counters", "open_invest"]) {
        collector.has(&format!("process {name}"), 1).await;
    }
    let [request] = collector
        .has("POST /api/invest", 1)
        .await
        .try_into()
        .unwrap();
    let [payment] = collector.has("POST /payment", 1).await.try_into().unwrap();
    for name in ["queue", "append events"] {
        collector.has(name, 2).await;
    }
    collector.has("publish product.events", 1).await;

    is_a(
        &request,
        SpanKind::Server,
        &[
            ("http.request.method", "POST"),
            ("http.route", "/api/invest"),
        ],
    );
    is_a(
        &request,
        SpanKind::Server,
        &[
            ("http.response.status_code", "200"),
            ("url.path", "/api/invest"),
        ],
    );
    assert_eq!(hex(&request.parent_span_id), CALLER);
    let log_id: Uuid = sqlx::query_scalar("select log_id from log_identity")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    for received in collector.received() {
        let span = received.span;
        assert_eq!(hex(&span.trace_id), TRACE, "{span:?}");
        assert!(
            span.span_id == request.span_id || span.parent_span_id == request.span_id,
            "{span:?}"
        );
        assert!(
            span.start_time_unix_nano <= span.end_time_unix_nano && span.start_time_unix_nano > 0,
            "{span:?}"
        );
        assert_ne!(
            span.status.clone().unwrap_or_default().code(),
            StatusCode::Error,
            "{span:?}"
        );
        assert_eq!(attribute(&received.resource, "service.name"), "moa");
        assert_eq!(received.tenant.as_deref(), Some("a tenant"));
    }
    let ids: BTreeSet<_> = collector
        .received()
        .into_iter()
        .map(|received| received.span.span_id)
        .collect();
    assert_eq!(
        ids.len(),
        collector.received().len(),
        "each span has an id of its own"
    );

    for append in collector.named("append events") {
        is_a(
            &append,
            SpanKind::Client,
            &[
                ("db.system.name", "postgresql"),
                ("db.operation.batch.size", "1"),
            ],
        );
    }
    for publish in collector.named("publish product.events") {
        let exchange = format!("product.events.{log_id}");
        is_a(
            &publish,
            SpanKind::Producer,
            &[
                ("messaging.system", "rabbitmq"),
                ("messaging.operation.type", "send"),
            ],
        );
        is_a(
            &publish,
            SpanKind::Producer,
            &[("messaging.destination.name", &exchange)],
        );
    }
    let mut delivered = 0;
    for consumer in consumers() {
        for process in collector.named(&format!("process {consumer}")) {
            is_a(
                &process,
                SpanKind::Consumer,
                &[("messaging.operation.type", "process")],
            );
            is_a(
                &process,
                SpanKind::Consumer,
                &[("messaging.consumer.group.name", consumer)],
            );
            let queue = format!("moa.{log_id}.{consumer}.");
            delivered += usize::from(
                attribute(&process.attributes, "messaging.destination.name").starts_with(&queue),
            );
        }
    }
    assert!(
        delivered > 0,
        "what RabbitMQ delivered is told from what was read from the log"
    );

    // The provider's own spans would be parts of the call.
    is_a(
        &payment,
        SpanKind::Client,
        &[
            ("http.request.method", "POST"),
            ("http.response.status_code", "200"),
        ],
    );
    let sent = payments.ledger()[&invest].traceparent.clone().unwrap();
    assert_eq!(sent, format!("00-{TRACE}-{}-01", hex(&payment.span_id)));
    let kept = format!("00-{TRACE}-{}-01", hex(&request.span_id));
    assert_eq!(
        stored_traceparents(&app).await,
        [Some(kept.clone()), Some(kept)]
    );
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
    let [root] = collector
        .has("POST /api/invest", 1)
        .await
        .try_into()
        .unwrap();
    assert!(root.parent_span_id.is_empty(), "{root:?}");
    let begun = format!("00-{}-{}-01", hex(&root.trace_id), hex(&root.span_id));
    assert_eq!(
        stored,
        [not_sampled.clone(), not_sampled, begun.clone(), begun].map(Some)
    );
    // Of the reservation, and of its fate.
    for name in ["queue", "append events"] {
        let of_root = || {
            collector
                .named(name)
                .into_iter()
                .filter(|span| span.parent_span_id == root.span_id)
                .count()
        };
        within(TEST_TIMEOUT, name, async || (of_root() == 2).then_some(())).await;
    }
    // Probes are no news.
    assert_eq!(app.api(0).get("/readyz").await.status, 200);
    invest_in(&app, product, None).await;
    assert!(
        app.processes
            .remove(0)
            .stopped(TEST_TIMEOUT)
            .await
            .status
            .success()
    );
    assert_eq!(
        collector.named("POST /api/invest").len(),
        2,
        "the last spans are sent before the process ends"
    );
    let names: BTreeSet<_> = collector
        .received()
        .into_iter()
        .map(|received| received.span.name)
        .collect();
    assert!(
        !names
            .iter()
            .any(|name| name.contains("readyz") || name.contains("metrics")),
        "{names:?}"
    );
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
    let lines: Vec<_> = ended
        .err
        .lines()
        .filter(|line| line.contains("collector"))
        .collect();
    let [lost, back] = lines[..] else {
        panic!("{lines:#?}")
    };
    assert!(
        lost.contains(r#""level":"WARN""#) && lost.contains("takes no spans"),
        "{lost}"
    );
    assert!(
        back.contains(r#""level":"INFO""#) && back.contains("takes spans again"),
        "{back}"
    );
}

/// More spans than Moa keeps, at a collector that takes connections and says nothing: no accept waits for it, nor does the stop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_collector_delays_no_accept() {
    let collector = Collector::silent().await;
    let mut app = TestApp::of(1, start(&collector.url())).await;
    let product = app.open_product("traced", LARGE_TOTAL_WON).await;
    let investing = join_all((0..CLIENTS).map(|client| {
        let app = &app;
        async move {
            for _ in 0..MANY_INVESTS / CLIENTS {
                let call = app.invest(ask(format!("user{client}"), product, 1)).await;
                assert!(call.is_accepted(), "{call:?}");
                let took = call.answered - call.sent;
                assert!(took < ACCEPT_TIMEOUT, "{took:?}");
            }
        }
    }));
    investing.await;
    app.settled().await;
    assert!(metric(&app, "moa_trace_spans_dropped_total{reason=\"full\"}").await > 0.0);
    let stopping = Instant::now();
    let ended = app.processes.remove(0).stopped(TEST_TIMEOUT).await;
    assert!(ended.status.success(), "{}", ended.err);
    assert!(
        stopping.elapsed() < Duration::from_secs(15),
        "{:?}",
        stopping.elapsed()
    );
}

#[tokio::test]
async fn a_collector_that_cannot_be_is_refused_by_name() {
    for (endpoint, why) in [
        ("collector:4317", "must begin with http://"),
        ("http://h?key=canary9d41", "its path"),
    ] {
        let ended = start(endpoint)
            .on("postgres://nobody@127.0.0.1:1/none")
            .end()
            .await;
        assert!(!ended.status.success());
        assert!(
            ended.err.contains("OTEL_EXPORTER_OTLP_ENDPOINT") && ended.err.contains(why),
            "{}",
            ended.err
        );
        assert!(!ended.err.contains("canary9d41"), "{}", ended.err);
    }
}
