//! From the log to the broker. One relay at a time publishes a partition, under a lease; it never waits for a consumer.

mod progress;
mod publishing;

use crate::Broker;
use event_log::{Lease, Log, Partition, RepeatedFault, restarted};
use publishing::{End, Publishing};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The relay's name among the checkpoints.
pub const RELAY: &str = "relay";
/// How long a lease holds: after so long another takes over from one that died or froze.
const LEASE: Duration = Duration::from_secs(5);
/// How often it is renewed.
const RENEW: Duration = Duration::from_millis(1_500);
/// How often a partition that another has, or that broke down, is tried for.
const TAKE_AGAIN: Duration = Duration::from_secs(1);
/// How long a shutdown waits for what is under way to be confirmed.
const FINISH: Duration = Duration::from_secs(2);
/// How often the lag is measured.
const MEASURE: Duration = Duration::from_secs(5);

/// Publishes every partition of `log` that no other relay has, from its checkpoint on, until `shutdown`: what the
/// broker confirmed, the checkpoint passes, and nothing else. Declares the exchange, and the queues of `consumers`, so
/// that nothing is published before they can have it. Returns when all is finished and given back, after about 2 s at
/// most.
///
/// Repeats happen, after any fault; holes do not. Needs [`Log::follow`] to run.
pub async fn relay(log: Log, broker: Broker, consumers: Vec<&'static str>, shutdown: CancellationToken) {
    broker.prepare_to_publish();
    let mut partitions = JoinSet::new();
    let consumers: Arc<[_]> = consumers.into();
    for partition in log.partitions() {
        let relay = Relay { log: log.clone(), broker: broker.clone(), consumers: consumers.clone(), partition };
        partitions.spawn(relay.keep_on(shutdown.clone()));
    }
    let all_ended = async { while partitions.join_next().await.is_some() {} };
    tokio::select! {
        () = all_ended => {}
        () = measure(log) => {}
    }
}

/// The relay of one partition.
#[derive(Clone)]
struct Relay {
    log: Log,
    broker: Broker,
    consumers: Arc<[&'static str]>,
    partition: Partition,
}

impl Relay {
    /// [`Self::keep`], begun anew when it breaks down: its lease runs out by then, and everything else is in the log.
    async fn keep_on(self, shutdown: CancellationToken) {
        let (readiness, who) = (self.log.readiness().clone(), format!("partition {}", self.partition));
        let start = || self.clone().keep(shutdown.clone());
        restarted(RELAY, who, &readiness, shutdown.clone(), start).await;
    }

    /// Tries for the lease, publishes while it holds, and again.
    async fn keep(self, shutdown: CancellationToken) {
        let mut fault =
            RepeatedFault::new("a relay's lease cannot be asked for", format!("partition {}", self.partition));
        while !shutdown.is_cancelled() {
            match Lease::take(&self.log, &format!("{RELAY}.{}", self.partition), LEASE).await {
                Ok(Some(lease)) => {
                    fault.recovered();
                    self.hold(lease, &shutdown).await;
                }
                Ok(None) => fault.recovered(),
                Err(error) => fault.failed(&error),
            }
            shutdown.run_until_cancelled(tokio::time::sleep(TAKE_AGAIN)).await;
        }
    }

    /// Publishes until the lease is lost or all is to stop. What is in flight then is dropped: whoever goes on does so
    /// from the checkpoint.
    async fn hold(&self, lease: Lease, shutdown: &CancellationToken) {
        let _held = Held::one_more();
        let Relay { log, broker, consumers, partition } = self;
        let publishing = Publishing { log, broker, consumers, partition: *partition, lease: &lease };
        let end = tokio::select! {
            end = publishing.run(shutdown) => end,
            () = renew(&lease) => End::Lost,
            () = given_up(shutdown) => End::Stopped,
        };
        match end {
            End::Lost => tracing::warn!(partition, "the relay's lease was lost; another relay may have it"),
            End::Stopped => {
                if let Err(error) = lease.release().await {
                    tracing::warn!(partition, %error, "the relay's lease could not be given back; it runs out");
                }
            }
        }
    }
}

/// Returns when the lease is lost. Faults are no loss: without a database nobody else can take it.
async fn renew(lease: &Lease) {
    loop {
        tokio::time::sleep(RENEW).await;
        match lease.renew(LEASE).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => tracing::debug!(%error, "a lease could not be renewed; trying on"),
        }
    }
}

async fn given_up(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(FINISH).await;
}

/// Counts the leases that this process holds.
struct Held;

impl Held {
    fn one_more() -> Self {
        metrics::gauge!("moa_relay_leases").increment(1.0);
        Self
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        metrics::gauge!("moa_relay_leases").decrement(1.0);
    }
}

/// Keeps the lag of all partitions known, whoever relays them, in events.
async fn measure(log: Log) {
    loop {
        if let (Ok(heads), Ok(checkpoints)) = (log.heads().await, log.checkpoints().await) {
            for (partition, head) in log.partitions().zip(heads) {
                let relayed = checkpoints.iter().find(|at| at.consumer == RELAY && at.partition == partition);
                let lag = head - relayed.map_or(0, |at| at.position);
                // Behind by less than 2^52, so it is exact.
                metrics::gauge!("moa_relay_lag_events", "partition" => partition.to_string()).set(lag as f64);
            }
        }
        tokio::time::sleep(MEASURE).await;
    }
}
