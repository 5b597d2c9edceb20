//! `ops/alerts.yaml` in a real Prometheus that scrapes a real Moa: every rule can be evaluated, quiet means no alarm, and each fault here
//! rings its own, which ends with the fault.

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use testbed::TempFolder;
use testbed::payments::Payments;
use tokio::process::{Child, Command};

use crate::harness::{Start, TestApp, ask, consumers, within};

const ALERTS: &str = include_str!("../../../ops/alerts.yaml");
const DASHBOARD: &str = include_str!("../../../ops/dashboard.json");
/// What two processes without RabbitMQ, Redis and a sealer's key have no series of, and what only shows a fault.
const MAY_BE_EMPTY: [&str; 6] = [
    "moa_ready == 0",
    "moa_relay_lag",
    "moa_redis_circuit",
    "moa_sealed_position",
    "moa_sealer_state",
    "moa_writes_stopped",
];
/// Scrapes and rules run each second, and a fault must first have lasted for one.
const ALARM_TIMEOUT: Duration = Duration::from_secs(60);

struct Prometheus {
    url: String,
    _process: Child,
    _folder: TempFolder,
}

/// Where `scripts/run-tests` puts the program; else the one that is installed.
fn program() -> PathBuf {
    let fetched = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/tools/prometheus/usr/bin/prometheus"));
    if fetched.exists() { fetched } else { "prometheus".into() }
}

impl Prometheus {
    /// Scrapes `targets`; with the rules as they are, except that a fault need not last for minutes.
    async fn start(targets: &[String]) -> Self {
        let folder = TempFolder::new("prometheus");
        let impatient = |line: &str| match line.trim_start().starts_with("for: ") {
            true => "        for: 1s".to_owned(),
            false => line.to_owned(),
        };
        let rules: Vec<_> = ALERTS.lines().map(impatient).collect();
        std::fs::write(folder.join("alerts.yaml"), rules.join("\n")).unwrap();
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
             rule_files: [alerts.yaml]\n\
             scrape_configs:\n  - {{job_name: moa, static_configs: [{{targets: [{}]}}]}}\n",
            targets.join(", ")
        );
        std::fs::write(folder.join("prometheus.yaml"), config).unwrap();
        let address = format!("127.0.0.1:{}", testbed::free_port());
        let process = Command::new(program())
            .args(["--config.file=prometheus.yaml", "--storage.tsdb.path=data", "--log.level=error"])
            .arg(format!("--web.listen-address={address}"))
            .current_dir(&folder)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("prometheus starts: install it, or let make test fetch it");
        Self { url: format!("http://{address}"), _process: process, _folder: folder }
    }

    async fn get(&self, path: &str) -> Option<Value> {
        let answer = reqwest::get(format!("{}{path}", self.url)).await.ok()?;
        answer.json::<Value>().await.ok().map(|body| body["data"].clone())
    }

    /// The rules that could not be evaluated, each with its error; `None` until all have been.
    async fn broken_rules(&self) -> Option<Vec<String>> {
        let rules = self.get("/api/v1/rules").await?["groups"][0]["rules"].as_array()?.clone();
        let is_known = rules.iter().all(|rule| rule["health"] != "unknown");
        let broken = rules.iter().filter(|rule| rule["health"] != "ok");
        is_known.then(|| broken.map(ToString::to_string).collect())
    }

    /// Whether the query finds any series; `None` while it cannot be asked.
    async fn answers(&self, query: &str) -> Option<bool> {
        let asked = reqwest::Url::parse_with_params(&format!("{}/api/v1/query", self.url), [("query", query)]).unwrap();
        let answer: Value = reqwest::get(asked).await.ok()?.json().await.ok()?;
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        Some(!answer["data"]["result"].as_array()?.is_empty())
    }

    async fn firing(&self) -> Option<BTreeSet<String>> {
        let alerts = self.get("/api/v1/alerts").await?["alerts"].as_array()?.clone();
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        Some(firing.filter_map(|alert| alert["labels"]["alertname"].as_str().map(str::to_owned)).collect())
    }

    /// Until just these ring.
    async fn rings(&self, wanted: &[&str]) {
        let wanted: BTreeSet<_> = wanted.iter().map(ToString::to_string).collect();
        let what = format!("just {wanted:?} ring");
        within(ALARM_TIMEOUT, &what, async || self.firing().await.filter(|firing| *firing == wanted).map(drop)).await;
    }
}

/// Of the dashboard, with the window that Grafana puts in.
fn dashboard_queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    targets.map(|target| target["expr"].as_str().unwrap().replace("$__rate_interval", "30s")).collect()
}

#[tokio::test]
async fn each_fault_rings_its_alarm_and_quiet_rings_none() {
    let payments = Payments::open().await;
    let start = Start::serve().env("MOA_PAYMENT_PROVIDER", "http").env("MOA_PAYMENT_URL", &payments.url());
    let mut app = TestApp::of(2, start).await;
    let target = |ops: &str| format!("'{}'", ops.trim_start_matches("http://"));
    let targets: Vec<_> = app.processes.iter().map(|process| target(&process.ops)).collect();
    let prometheus = Prometheus::start(&targets).await;
    let broken = within(ALARM_TIMEOUT, "every rule is evaluated", async || prometheus.broken_rules().await).await;
    assert_eq!(broken, [""; 0]);
    let product = app.open_product("rings", 1_000).await;
    assert!(app.invest(ask("ann", product, 1)).await.is_accepted());
    app.settled().await;
    within(ALARM_TIMEOUT, "series that are there before anything happens", async || {
        let found = prometheus.get("/api/v1/query?query=moa_deliveries_parked_total").await?;
        (found["result"].as_array()?.len() == consumers().len() * targets.len()).then_some(())
    })
    .await;
    prometheus.rings(&[]).await;
    for query in dashboard_queries() {
        let may_be_empty = MAY_BE_EMPTY.iter().any(|part| query.contains(part));
        let finds = async || prometheus.answers(&query).await.filter(|found| *found || may_be_empty).map(drop);
        within(ALARM_TIMEOUT, &format!("{query} finds something"), finds).await;
    }

    // A read model whose table is away.
    sqlx::query("alter table holdings rename to holdings_away").execute(&app.pool).await.unwrap();
    assert!(app.invest(ask("ann", product, 1)).await.is_accepted());
    prometheus.rings(&["MoaConsumerFailing", "MoaNotReady"]).await;
    let checked = app.operator(&["status", "--check"]).await;
    assert_eq!(checked.status.code(), Some(1));
    assert!(checked.err.contains("not ready: projection: see MoaNotReady"), "{}", checked.err);
    sqlx::query("alter table holdings_away rename to holdings").execute(&app.pool).await.unwrap();
    prometheus.rings(&[]).await;

    // A payment provider that is away, for more than four invests.
    payments.closes().await;
    for user in 0..8 {
        assert!(app.invest(ask(format!("user{user}"), product, 1)).await.is_accepted());
    }
    prometheus.rings(&["MoaPaymentProviderAway"]).await;
    payments.reopens().await;
    prometheus.rings(&[]).await;
    app.settled().await;

    // A process that is gone.
    let gone = app.processes.pop().unwrap();
    gone.killed().await;
    prometheus.rings(&["MoaDown"]).await;
}
