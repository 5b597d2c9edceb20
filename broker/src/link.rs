//! A connection that is kept for ever: lazily made, and made again when it is lost. lapin's own recovery gives up after
//! some minutes, so it stays off.

use crate::backoff::Backoff;
use crate::kept_up::kept_up;
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// How long the server is given to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long any one answer of the server is waited for. A server whose disk is full does not answer and says nothing.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How often it is looked whether the connection is still there.
const LOOK: Duration = Duration::from_millis(100);
/// A connection that lived this long was a good one: after it the first wait is short again.
const STABLE: Duration = Duration::from_secs(10);
type Current = watch::Sender<Option<Arc<Connection>>>;

/// One connection.
pub(crate) struct Link {
    address: AMQPUri,
    /// What operators see of it.
    name: String,
    current: Current,
    supervisor: OnceLock<AbortOnDropHandle<()>>,
}

impl Link {
    pub(crate) fn new(address: AMQPUri, name: String) -> Self {
        Self { address, name, current: watch::Sender::new(None), supervisor: OnceLock::new() }
    }

    pub(crate) fn is_needed(&self) -> bool {
        self.supervisor.get().is_some()
    }

    pub(crate) fn stands(&self) -> bool {
        self.current.borrow().as_ref().is_some_and(|connection| connection.status().connected())
    }

    pub(crate) async fn channel(&self) -> lapin::Result<Channel> {
        let connection = self.usable().await;
        answered(connection.create_channel()).await
    }

    /// The connection, once it stands and is not blocked. What is sent over a blocked one only piles up.
    async fn usable(&self) -> Arc<Connection> {
        self.supervised();
        let mut current = self.current.subscribe();
        loop {
            let connection = current.borrow_and_update().clone();
            match connection {
                Some(connection) if !connection.status().blocked() => return connection,
                Some(_) => tokio::time::sleep(LOOK).await,
                // The sender is ours, so it cannot be gone.
                None => drop(current.changed().await),
            }
        }
    }

    /// Begins to make the connection, unless that has begun.
    pub(crate) fn supervised(&self) {
        self.supervisor.get_or_init(|| {
            let (address, name, current) = (self.address.clone(), self.name.clone(), self.current.clone());
            kept_up("a connection to RabbitMQ", move || supervise(address.clone(), name.clone(), current.clone()))
        });
    }
}

/// What the server answers, or the error that there was no answer in time.
pub(crate) async fn answered<T>(asked: impl Future<Output = lapin::Result<T>>) -> lapin::Result<T> {
    tokio::time::timeout(ANSWER_TIMEOUT, asked).await.unwrap_or_else(|_| Err(timed_out()))
}

fn timed_out() -> lapin::Error {
    std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time").into()
}

/// Keeps `current` a connection that stands, or none. Says once when it is lost and once when it is back.
async fn supervise(address: AMQPUri, name: String, current: Current) {
    let (mut backoff, mut is_missed) = (Backoff::new(), false);
    loop {
        let made = connect(&address, &name).await;
        match made {
            Ok(connection) => {
                tracing::info!(connection = name, "connected to RabbitMQ");
                if keep(&current, connection).await >= STABLE {
                    backoff.reset();
                }
                is_missed = true;
                metrics::counter!("moa_broker_connections_lost_total").increment(1);
                tracing::warn!(connection = name, "the connection to RabbitMQ is lost; it is made again, for ever");
            }
            Err(error) if !is_missed => {
                is_missed = true;
                tracing::warn!(connection = name, %error, "RabbitMQ cannot be reached; it is tried again, for ever");
            }
            Err(_) => {}
        }
        backoff.pause().await;
    }
}

async fn connect(address: &AMQPUri, name: &str) -> lapin::Result<Connection> {
    let options = ConnectionProperties::default().with_connection_name(name.into());
    let connecting = Connection::connect_uri(address.clone(), options);
    tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or_else(|_| Err(timed_out()))
}

/// Lets `connection` be used until it is lost; says how long that was.
async fn keep(current: &Current, connection: Connection) -> Duration {
    let (since, connection) = (Instant::now(), Arc::new(connection));
    current.send_replace(Some(connection.clone()));
    while connection.status().connected() {
        tokio::time::sleep(LOOK).await;
    }
    current.send_replace(None);
    since.elapsed()
}
