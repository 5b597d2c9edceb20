//! How a process is: `/livez`, `/readyz`, and `/metrics` in Prometheus' text format.

use anyhow::Context;
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use sqlx::PgPool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long the database may take to answer when asked whether we are ready.
const READY: Duration = Duration::from_secs(1);
/// How often what the histograms gathered is folded, so that it does not pile up while nobody scrapes.
const UPKEEP: Duration = Duration::from_secs(5);
/// Upper bounds of times, in seconds.
const SECONDS: [f64; 14] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Upper bounds of counts.
const COUNTS: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0];

/// How this process is; clones share it.
#[derive(Clone)]
pub(crate) struct Ops {
    metrics: PrometheusHandle,
    pools: Arc<Mutex<Vec<(&'static str, PgPool)>>>,
    broker: Arc<Mutex<Option<broker::Broker>>>,
}

impl Ops {
    /// Begins to gather metrics; once per process.
    pub(crate) fn new() -> anyhow::Result<Self> {
        use metrics_exporter_prometheus::Matcher::Suffix;
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Suffix("_seconds".into()), &SECONDS)
            .and_then(|builder| builder.set_buckets_for_metric(Suffix("_size".into()), &COUNTS));
        let metrics = builder.and_then(PrometheusBuilder::install_recorder).context("metrics cannot be gathered")?;
        let upkeep = metrics.clone();
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(UPKEEP);
            loop {
                tick.tick().await;
                upkeep.run_upkeep();
            }
        });
        Ok(Self { metrics, pools: Arc::default(), broker: Arc::default() })
    }

    /// Counts this pool's connections; the process is ready when the first one that is watched answers.
    pub(crate) fn watch_pool(&self, name: &'static str, pool: &PgPool) {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner).push((name, pool.clone()));
    }

    /// The process is not ready without this broker.
    pub(crate) fn needs_broker(&self, broker: &broker::Broker) {
        *self.broker.lock().unwrap_or_else(PoisonError::into_inner) = Some(broker.clone());
    }

    /// `/livez` and `/readyz`.
    pub(crate) fn health(&self) -> Router {
        let ops = self.clone();
        edge::health(move || {
            let ops = ops.clone();
            async move { ops.unready().await }
        })
    }

    /// The same and `/metrics`; never for the public.
    pub(crate) fn routes(&self) -> Router {
        let ops = self.clone();
        let metrics = async move || ([(CONTENT_TYPE, "text/plain; version=0.0.4")], ops.render());
        self.health().route("/metrics", get(metrics))
    }

    async fn unready(&self) -> Vec<&'static str> {
        let mut unready = Vec::new();
        if !self.database_answers().await {
            unready.push("database");
        }
        let broker = self.broker.lock().unwrap_or_else(PoisonError::into_inner);
        if broker.as_ref().is_some_and(|broker| !broker.is_connected()) {
            unready.push("broker");
        }
        unready
    }

    async fn database_answers(&self) -> bool {
        let first = self.pools.lock().unwrap_or_else(PoisonError::into_inner).first().map(|(_, pool)| pool.clone());
        let Some(pool) = first else { return false };
        let asked = tokio::time::timeout(READY, sqlx::query("select 1").execute(&pool)).await;
        matches!(asked, Ok(Ok(_)))
    }

    fn render(&self) -> String {
        for (name, pool) in self.pools.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            metrics::gauge!("moa_pool_connections", "pool" => *name).set(f64::from(pool.size()));
            metrics::gauge!("moa_pool_idle_connections", "pool" => *name).set(pool.num_idle() as f64);
        }
        self.metrics.render()
    }
}
