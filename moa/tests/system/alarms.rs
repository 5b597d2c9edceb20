//! `ops/alerts.yaml` in a real Prometheus that scrapes a real Moa: every rule can be evaluated, quiet means no alarm, and each fault rings
//! its own, which ends with the fault. One file has the faults of one part; here are the rest.

mod files;
mod prometheus;
mod read_side;
mod rules;
mod servers;
mod settlement;
mod write_side;

use serde_json::Value;
use testbed::payments::Payments;

use crate::harness::{Start, TestApp, ask, consumers, within};
use prometheus::{ALARM_TIMEOUT, Prometheus};

const DASHBOARD: &str = include_str!("../../../ops/dashboard.json");
/// What two processes without RabbitMQ, Redis, a certificate and a sealer's key have no series of, and what only shows a fault.
const MAY_BE_EMPTY: [&str; 7] = [
    "moa_certificate_expiry",
    "moa_ready == 0",
    "moa_relay_lag",
    "moa_redis_circuit",
    "moa_sealed_position",
    "moa_sealer_state",
    "moa_writes_stopped",
];

/// Of a new log.
const PARTITIONS: usize = 4;

/// Of the dashboard, with the window that Grafana puts in.
fn dashboard_queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    targets
        .map(|target| {
            target["expr"]
                .as_str()
                .unwrap()
                .replace("$__rate_interval", "30s")
        })
        .collect()
}

/// Steps: two processes work, and nothing rings; every query of the dashboard finds something; one of them is killed, and
/// started again: it knows how far its consumers are, though nothing happens.
#[tokio::test]
async fn quiet_rings_nothing_and_a_process_that_is_gone_is_missed() {
    let payments = Payments::open().await;
    let start = Start::serve()
        .env("MOA_PAYMENT_PROVIDER", "http")
        .env("MOA_PAYMENT_URL", &payments.url());
    let mut app = TestApp::of(2, start).await;
    let prometheus = Prometheus::of(&app.processes).await;
    let broken = within(ALARM_TIMEOUT, "every rule is evaluated", async || {
        prometheus.broken_rules().await
    })
    .await;
    assert_eq!(broken, [""; 0]);
    let product = app.open_product("rings", 1_000).await;
    assert!(app.invest(ask("ann", product, 1)).await.is_accepted());
    app.settled().await;
    within(
        ALARM_TIMEOUT,
        "series that are there before anything happens",
        async || {
            let found = prometheus
                .get("/api/v1/query?query=moa_deliveries_parked_total")
                .await?;
            (found["result"].as_array()?.len() == consumers().len() * app.processes.len())
                .then_some(())
        },
    )
    .await;
    for query in dashboard_queries() {
        let may_be_empty = MAY_BE_EMPTY.iter().any(|part| query.contains(part));
        let finds = async || {
            prometheus
                .answers(&query)
                .await
                .filter(|found| *found || may_be_empty)
                .map(drop)
        };
        within(ALARM_TIMEOUT, &format!("{query} finds something"), finds).await;
    }
    prometheus.is_quiet().await;

    app.processes.pop().unwrap().killed().await;
    prometheus.rings(&["MoaDown"]).await;
    app.add_process().await;
    prometheus.scrapes(&app.processes).await;
    prometheus.is_quiet().await;
    within(
        ALARM_TIMEOUT,
        "positions of a process that has applied nothing yet",
        async || {
            let found = prometheus
                .get("/api/v1/query?query=moa_consumer_position")
                .await?;
            (found["result"].as_array()?.len()
                == consumers().len() * PARTITIONS * app.processes.len())
            .then_some(())
        },
    )
    .await;
}
