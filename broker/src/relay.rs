//! The relay publishes the log to RabbitMQ. It is the relay of a transactional outbox whose outbox is the log itself: it reads
//! after its checkpoint, publishes, and moves the checkpoint over what the broker confirmed. A lease makes it the only relay of
//! its partition. It never waits for a consumer.

mod progress;
mod publishing;
mod trace;

use crate::Broker;
use event_log::{Lease, Log, Partition, RepeatedFault, restart_on_panic};
use publishing::{End, Publishing};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The relay's name in the table of checkpoints.
pub const RELAY: &str = "relay";
/// How long a lease lasts: so long after a relay died or froze, another takes over.
const LEASE_DURATION: Duration = Duration::from_secs(5);
/// How often the lease is renewed.
const LEASE_RENEW_INTERVAL: Duration = Duration::from_millis(1_500);
/// How often a relay tries to take the lease of a partition that it does not have.
const LEASE_RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// How long a shutdown waits for confirmations of what is in flight.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the lag is published as a metric.
const LAG_REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// Publishes every partition of `log` that no other relay holds, from its checkpoint on, until `shutdown`. The checkpoint
/// passes only events that the broker confirmed. Declares the exchange, and the queues of `consumers`, before it publishes.
/// Returns when everything is confirmed and the leases are released, after about 2 s at most.
///
/// Delivers at least once and in order: any fault may cause repeats, none a gap. Needs [`Log::poll_heads`] to run.
pub async fn relay(
    log: Log,
    broker: Broker,
    consumers: Vec<&'static str>,
    shutdown: CancellationToken,
) {
    broker.prepare_to_publish();
    let mut partitions = JoinSet::new();
    let consumers: Arc<[_]> = consumers.into();
    for partition in log.partitions() {
        let relay = Relay {
            log: log.clone(),
            broker: broker.clone(),
            consumers: consumers.clone(),
            partition,
        };
        partitions.spawn(relay.run_restarting(shutdown.clone()));
    }
    let all_ended = async { while partitions.join_next().await.is_some() {} };
    tokio::select! {
        () = all_ended => {}
        () = report_lag(log) => {}
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
    /// [`Self::run`], started again when it panics: its lease expires by then, and everything else is in the log.
    async fn run_restarting(self, shutdown: CancellationToken) {
        let (readiness, who) = (
            self.log.readiness().clone(),
            format!("partition {}", self.partition),
        );
        let start = || self.clone().run(shutdown.clone());
        restart_on_panic(RELAY, who, &readiness, shutdown.clone(), start).await;
    }

    /// Takes the lease, publishes while it holds it, and repeats.
    async fn run(self, shutdown: CancellationToken) {
        let mut fault = RepeatedFault::new(
            "a relay's lease cannot be requested",
            format!("partition {}", self.partition),
        );
        while !shutdown.is_cancelled() {
            match Lease::acquire(
                &self.log,
                &format!("{RELAY}.{}", self.partition),
                LEASE_DURATION,
            )
            .await
            {
                Ok(Some(lease)) => {
                    fault.recovered();
                    self.publish_while_leased(lease, &shutdown).await;
                }
                Ok(None) => fault.recovered(),
                Err(error) => fault.failed(&error),
            }
            shutdown
                .run_until_cancelled(tokio::time::sleep(LEASE_RETRY_INTERVAL))
                .await;
        }
    }

    /// Publishes until the lease is lost or the process shuts down. Then messages in flight are abandoned: the next relay
    /// publishes them again from the checkpoint.
    async fn publish_while_leased(&self, lease: Lease, shutdown: &CancellationToken) {
        let _gauge = LeaseGauge::increment();
        let Relay {
            log,
            broker,
            consumers,
            partition,
        } = self;
        let publishing = Publishing {
            log,
            broker,
            consumers,
            partition: *partition,
            lease: &lease,
        };
        let end = tokio::select! {
            end = publishing.run(shutdown) => end,
            () = renew_until_lost(&lease) => End::LeaseLost,
            () = shutdown_timeout(shutdown) => End::Stopped,
        };
        match end {
            End::LeaseLost => tracing::warn!(
                partition,
                "the relay's lease is lost; another relay may have it"
            ),
            End::Stopped => {
                if let Err(error) = lease.release().await {
                    tracing::warn!(partition, %error, "the relay's lease could not be released; it expires");
                }
            }
        }
    }
}

/// Returns when the lease is lost. A fault is not a loss: without the database nobody else can take the lease.
async fn renew_until_lost(lease: &Lease) {
    loop {
        tokio::time::sleep(LEASE_RENEW_INTERVAL).await;
        match lease.renew(LEASE_DURATION).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => tracing::debug!(%error, "a lease could not be renewed; retrying"),
        }
    }
}

async fn shutdown_timeout(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(SHUTDOWN_TIMEOUT).await;
}

/// The metric of the leases that this process holds; counts one while it lives.
struct LeaseGauge;

impl LeaseGauge {
    fn increment() -> Self {
        metrics::gauge!("moa_relay_leases").increment(1.0);
        Self
    }
}

impl Drop for LeaseGauge {
    fn drop(&mut self) {
        metrics::gauge!("moa_relay_leases").decrement(1.0);
    }
}

/// Publishes the lag of every partition as a metric, in events, whichever process relays it.
async fn report_lag(log: Log) {
    loop {
        if let (Ok(heads), Ok(checkpoints)) = (log.heads().await, log.checkpoints().await) {
            for (partition, head) in log.partitions().zip(heads) {
                let relayed = checkpoints
                    .iter()
                    .find(|at| at.consumer == RELAY && at.partition == partition);
                let lag = head - relayed.map_or(0, |at| at.position);
                // Less than 2^52, so it is exact.
                metrics::gauge!("moa_relay_lag_events", "partition" => partition.to_string())
                    .set(lag as f64);
            }
        }
        tokio::time::sleep(LAG_REPORT_INTERVAL).await;
    }
}
