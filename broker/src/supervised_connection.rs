//! A connection to RabbitMQ that a supervisor opens when it is first needed, and opens again whenever it is lost. lapin's
//! own recovery gives up after some minutes, so it stays off.

use crate::address::Address;
use crate::supervise::spawn_supervised;
use connection_pool::outage::RABBITMQ;
use event_log::Backoff;
use lapin::{Channel, Connection, ConnectionProperties};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// How long the server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the server may take for any reply. A server whose disk is full does not reply at all.
pub(crate) const REPLY_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the connection's status is polled.
const STATUS_POLL_INTERVAL: Duration = Duration::from_millis(100);
/// After a connection that lasted this long, the backoff starts over.
const STABLE_DURATION: Duration = Duration::from_secs(10);
/// The first and the longest wait before a retry.
const MIN_RETRY_DELAY: Duration = Duration::from_millis(200);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(5);

type Current = watch::Sender<Option<Arc<Connection>>>;

/// One connection.
pub(crate) struct SupervisedConnection {
    address: Address,
    /// How operators see it on the server.
    name: String,
    current: Current,
    supervisor: OnceLock<AbortOnDropHandle<()>>,
}

impl SupervisedConnection {
    pub(crate) fn new(address: Address, name: String) -> Self {
        Self {
            address,
            name,
            current: watch::Sender::new(None),
            supervisor: OnceLock::new(),
        }
    }

    pub(crate) fn is_needed(&self) -> bool {
        self.supervisor.get().is_some()
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.current
            .borrow()
            .as_ref()
            .is_some_and(|connection| connection.status().connected())
    }

    pub(crate) async fn channel(&self) -> lapin::Result<Channel> {
        let connection = self.usable().await;
        within_timeout(connection.create_channel()).await
    }

    /// The connection, once it is open and not blocked: messages for a blocked one would only pile up.
    async fn usable(&self) -> Arc<Connection> {
        self.start();
        let mut current = self.current.subscribe();
        loop {
            let connection = current.borrow_and_update().clone();
            match connection {
                Some(connection) if !connection.status().blocked() => return connection,
                Some(_) => tokio::time::sleep(STATUS_POLL_INTERVAL).await,
                // The sender lives as long as `self`.
                None => drop(current.changed().await),
            }
        }
    }

    /// Starts the supervisor, unless it is running.
    pub(crate) fn start(&self) {
        self.supervisor.get_or_init(|| {
            let (address, name, current) = (
                self.address.clone(),
                self.name.clone(),
                self.current.clone(),
            );
            spawn_supervised("a connection to RabbitMQ", move || {
                supervise(address.clone(), name.clone(), current.clone())
            })
        });
    }
}

/// The waits between attempts at whatever the broker refuses or does not answer.
pub(crate) fn backoff() -> Backoff {
    Backoff::new(MIN_RETRY_DELAY, MAX_RETRY_DELAY)
}

/// The server's reply, or the error that there was none within [`REPLY_TIMEOUT`].
pub(crate) async fn within_timeout<T>(
    request: impl Future<Output = lapin::Result<T>>,
) -> lapin::Result<T> {
    tokio::time::timeout(REPLY_TIMEOUT, request)
        .await
        .unwrap_or_else(|_| Err(timed_out()))
}

fn timed_out() -> lapin::Error {
    std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time").into()
}

/// Keeps an open connection in `current`, or none. The first is logged, and the outage of the server; a connection that is lost alone is
/// counted.
async fn supervise(address: Address, name: String, current: Current) {
    let (mut backoff, mut was_connected) = (backoff(), false);
    loop {
        match connect(&address, &name).await {
            Ok(connection) => {
                RABBITMQ.answered();
                if !std::mem::replace(&mut was_connected, true) {
                    tracing::info!(connection = name, "connected to RabbitMQ");
                }
                if run_until_lost(&current, connection).await >= STABLE_DURATION {
                    backoff.reset();
                }
                metrics::counter!("moa_broker_connections_lost_total").increment(1);
                RABBITMQ.failed(&"the connection is lost");
            }
            Err(error) => RABBITMQ.failed(&address.explain(&error)),
        }
        backoff.wait().await;
    }
}

async fn connect(address: &Address, name: &str) -> lapin::Result<Connection> {
    let options = ConnectionProperties::default().with_connection_name(name.into());
    tokio::time::timeout(CONNECT_TIMEOUT, address.connect(options))
        .await
        .unwrap_or_else(|_| Err(timed_out()))
}

/// Publishes `connection` to its users until it is lost; returns how long it lasted.
async fn run_until_lost(current: &Current, connection: Connection) -> Duration {
    let (since, connection) = (Instant::now(), Arc::new(connection));
    current.send_replace(Some(connection.clone()));
    while connection.status().connected() {
        tokio::time::sleep(STATUS_POLL_INTERVAL).await;
    }
    current.send_replace(None);
    since.elapsed()
}
