//! The health of a process: `/livez`, `/readyz`, and `/metrics` in Prometheus' text format.
//!
//! `docs/operating.md` has a table of what ready means for each service. The components of a process fail and clear clauses by
//! themselves; the database and the broker are probed here, on request.

mod catalog;
mod probe;
pub(crate) mod reference;
mod renamed;

use crate::trust;
use anyhow::Context;
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use connection_pool::Pool;
use event_log::{Clause, Log, Readiness};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;
use probe::DatabaseProbe;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tls::{Identity, ServerIdentity};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// An answer this young is given again, so that nobody makes the database work by asking often.
const PROBE_INTERVAL: Duration = Duration::from_millis(250);
/// How often histograms are aggregated, so that samples do not pile up while nobody scrapes.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
/// Upper bounds of times, in seconds.
const SECONDS_BUCKETS: [f64; 14] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// Upper bounds of counts.
const COUNT_BUCKETS: [f64; 10] = [
    1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0,
];

/// How this process is; clones share it.
#[derive(Clone)]
pub(crate) struct Ops {
    metrics: PrometheusHandle,
    readiness: Readiness,
    watched: Arc<Mutex<Watched>>,
    probed_at: Arc<tokio::sync::Mutex<Option<Instant>>>,
}

/// What is asked, or counted, whenever somebody wants to know.
#[derive(Default)]
struct Watched {
    pools: Vec<(&'static str, Pool)>,
    /// `None` until there is a database.
    database: Option<Arc<DatabaseProbe>>,
    broker: Option<(broker::Broker, Clause)>,
    log: Option<Log>,
    /// What the listeners show, where they speak TLS.
    certificate: Option<Arc<ServerIdentity>>,
}

impl Ops {
    /// Begins to gather metrics; once per process.
    pub(crate) fn new() -> anyhow::Result<Self> {
        use metrics_exporter_prometheus::Matcher::Suffix;
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Suffix("_seconds".into()), &SECONDS_BUCKETS)
            .and_then(|builder| {
                builder.set_buckets_for_metric(Suffix("_size".into()), &COUNT_BUCKETS)
            });
        let metrics = builder
            .and_then(PrometheusBuilder::install_recorder)
            .context("metrics cannot be gathered")?;
        catalog::describe();
        Collector::default().describe();
        metrics::gauge!("moa_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        // Until there is a probe.
        metrics::gauge!("moa_ready", "clause" => "database").set(0.0);
        Ok(Self {
            metrics,
            readiness: Readiness::default(),
            watched: Arc::default(),
            probed_at: Arc::default(),
        })
    }

    /// A clause of this process, for a part of it.
    pub(crate) fn clause(&self, name: &'static str) -> Clause {
        self.readiness.clause(name)
    }

    /// Folds what the histograms gathered, until `shutdown`.
    pub(crate) async fn keep_up(self, shutdown: CancellationToken) {
        while shutdown
            .run_until_cancelled(tokio::time::sleep(UPKEEP_INTERVAL))
            .await
            .is_some()
        {
            self.metrics.run_upkeep();
        }
    }

    /// Counts this pool's connections.
    pub(crate) fn watch_pool(&self, name: &'static str, pool: &Pool) {
        self.watched().pools.push((name, pool.clone()));
    }

    /// Shows when this certificate expires.
    pub(crate) fn watch_certificate(&self, identity: &Arc<ServerIdentity>) {
        self.watched().certificate = Some(identity.clone());
    }

    /// The process is not ready while a clause of this log fails.
    pub(crate) fn watch_log(&self, log: &Log) {
        self.watched().log = Some(log.clone());
    }

    /// The process is not ready unless the database answers over this pool.
    pub(crate) fn needs_database(&self, pool: &Pool) {
        let probe = DatabaseProbe::new(pool.clone(), self.readiness.clause("database"), None);
        self.watched().database = Some(Arc::new(probe));
    }

    /// The process is not ready unless the database answers over this pool and would take a write.
    pub(crate) fn needs_writable_database(&self, pool: &Pool) {
        let takes_writes = self.readiness.clause("database-read-only");
        let probe = DatabaseProbe::new(
            pool.clone(),
            self.readiness.clause("database"),
            Some(takes_writes),
        );
        self.watched().database = Some(Arc::new(probe));
    }

    /// The process is not ready without this broker.
    pub(crate) fn needs_broker(&self, broker: &broker::Broker) {
        self.watched().broker = Some((broker.clone(), self.readiness.clause("broker")));
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
        let metrics = async move || {
            ops.probe().await;
            ([(CONTENT_TYPE, "text/plain; version=0.0.4")], ops.render())
        };
        self.health().route("/metrics", get(metrics))
    }

    /// The clauses of this process that fail now, by their names.
    pub(crate) async fn unready(&self) -> Vec<&'static str> {
        self.probe().await;
        let watched = self.watched();
        let mut names: BTreeSet<_> = self.readiness.failed().into_iter().collect();
        names.extend(watched.log.iter().flat_map(|log| log.readiness().failed()));
        if watched.database.is_none() {
            names.insert("database");
        }
        names.into_iter().collect()
    }

    /// Asks what only shows when it is asked; one at a time, and not again what was asked just now.
    async fn probe(&self) {
        let mut probed_at = self.probed_at.lock().await;
        if probed_at.is_some_and(|at| at.elapsed() < PROBE_INTERVAL) {
            return;
        }
        let database = self.watched().database.clone();
        if let Some(database) = database {
            database.run().await;
        }
        if let Some((broker, clause)) = &self.watched().broker {
            match broker.is_connected() {
                true => clause.clear(),
                // The outage has its own lines in the log.
                false => clause.fail_quietly("RabbitMQ is not connected"),
            }
        }
        *probed_at = Some(Instant::now());
    }

    fn render(&self) -> String {
        Collector::default().collect();
        let listener = self
            .watched()
            .certificate
            .as_ref()
            .and_then(|identity| identity.not_after());
        let client = trust::of_process().identity().and_then(Identity::not_after);
        for (certificate, not_after) in [("listener", listener), ("client", client)] {
            let Some(not_after) = not_after else { continue };
            metrics::gauge!("moa_certificate_expiry_timestamp_seconds", "certificate" => certificate)
                .set(not_after as f64);
        }
        for (name, pool) in &self.watched().pools {
            metrics::gauge!("moa_pool_connections", "pool" => *name).set(f64::from(pool.size()));
            metrics::gauge!("moa_pool_idle_connections", "pool" => *name)
                .set(pool.num_idle() as f64);
            metrics::gauge!("moa_pool_max_connections", "pool" => *name)
                .set(f64::from(pool.max_connections()));
        }
        renamed::with_old_names(self.metrics.render())
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
