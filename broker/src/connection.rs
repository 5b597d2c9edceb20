//! The handle on the broker.

use crate::address::{Address, AddressError};
use crate::supervised_connection::SupervisedConnection;
use crate::validated_messages::ValidatedMessages;
use lapin::Channel;
use std::fmt;
use std::sync::Arc;
use tls::Trust;
use uuid::Uuid;

/// A handle on the broker, for one log; clones share it. It has one connection to publish and one to consume, because a
/// server that is full stops reading from publishers. Each is opened when it is first needed and kept until the last clone
/// is dropped.
#[derive(Clone)]
pub struct Broker {
    shared: Arc<Shared>,
}

struct Shared {
    log_id: Uuid,
    publishing: SupervisedConnection,
    consuming: SupervisedConnection,
    validated: Arc<ValidatedMessages>,
}

impl Broker {
    /// A handle on the broker at `url`, which the system's CAs vouch for, for the log `log_id`; does not connect yet. A server that is away is no error:
    /// connections to it are retried.
    pub fn new(url: &str, log_id: Uuid) -> Result<Self, AddressError> {
        Ok(Self::at(&Address::parse(url, &Trust::default())?, log_id))
    }

    /// The same for an address that was parsed before.
    pub fn at(address: &Address, log_id: Uuid) -> Self {
        let connection = |use_| {
            SupervisedConnection::new(
                address.clone(),
                format!("moa {use_} (process {})", std::process::id()),
            )
        };
        let (publishing, consuming) = (connection("publishing"), connection("consuming"));
        Self {
            shared: Arc::new(Shared {
                log_id,
                publishing,
                consuming,
                validated: Arc::default(),
            }),
        }
    }

    /// The log whose events are published and consumed.
    pub fn log_id(&self) -> Uuid {
        self.shared.log_id
    }

    /// Whether every connection that is needed is open now. `false` until one was needed.
    pub fn is_connected(&self) -> bool {
        let all = [&self.shared.publishing, &self.shared.consuming];
        let mut needed = all.into_iter().filter(|connection| connection.is_needed());
        needed.clone().count() > 0 && needed.all(SupervisedConnection::is_connected)
    }

    /// What the consumers of this handle have validated.
    pub(crate) fn validated_messages(&self) -> &Arc<ValidatedMessages> {
        &self.shared.validated
    }

    /// Opens the connection to publish on before there is anything to publish: a relay without a lease must be ready.
    pub(crate) fn prepare_to_publish(&self) {
        self.shared.publishing.start();
    }

    /// A channel to publish on; waits for a connection without a time-out.
    pub(crate) async fn channel_to_publish(&self) -> lapin::Result<Channel> {
        self.shared.publishing.channel().await
    }

    /// A channel to consume from; waits for a connection without a time-out.
    pub(crate) async fn channel_to_consume(&self) -> lapin::Result<Channel> {
        self.shared.consuming.channel().await
    }
}

impl fmt::Debug for Broker {
    /// Without the address: it has a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker")
            .field("log_id", &self.shared.log_id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_never_shown() {
        let broker =
            Broker::new("amqp://user:secret-canary@host", Uuid::nil()).expect("a good address");
        assert!(!format!("{broker:?}").contains("secret-canary"));
    }
}
