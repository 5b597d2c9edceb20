//! The limits of connections, each and together.

use hyper::body::{Body, Incoming};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tls::ServerIdentity;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;

use super::hosts::{AllowedHost, HostRule};
use crate::Problem;
use crate::request_limits::MAX_BODY_BYTES;

/// Connections that a listener serves at once; more wait in the kernel's queue.
pub const MAX_CONNECTIONS: usize = 10_000;
/// How long a connection may idle before its first request and between requests, unless it is set. Proxies keep theirs for
/// 60 s, and the side that sends requests must be the first to let go.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// Connections of one address, unless it is set: four fifths of a listener's. Behind a proxy all come from the proxy's.
pub const MAX_CONNECTIONS_PER_PEER: usize = 8_000;
/// What each connection may hold of a request or an answer without asking anybody.
pub(super) const OWN_BYTES: usize = 8 * 1024;
/// What all connections of a process may hold beyond their own, together.
pub const MAX_SHARED_BYTES: usize = 64 * 1024 * 1024;

/// What an operator may choose.
#[derive(Clone, Debug)]
pub struct ConnectionSettings {
    /// Connections that a listener serves at once.
    pub max_connections: usize,
    /// Connections of one address at one listener; never more than four fifths of `max_connections`.
    pub max_connections_per_peer: usize,
    /// How long a connection may idle before its first request and between requests.
    pub idle_timeout: Duration,
    /// Names that the operators' listener, and any listener bound to loopback, answers to beside its own.
    pub allowed_hosts: Vec<AllowedHost>,
    /// What all connections may hold beyond their own 8 KB, together, in bytes.
    pub max_shared_bytes: usize,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self {
            max_connections: MAX_CONNECTIONS,
            max_connections_per_peer: MAX_CONNECTIONS_PER_PEER,
            idle_timeout: IDLE_TIMEOUT,
            allowed_hosts: Vec::new(),
            max_shared_bytes: MAX_SHARED_BYTES,
        }
    }
}

/// How the listeners of a process treat their connections. Clones share the budget of bytes.
#[derive(Clone)]
pub struct ConnectionPolicy {
    settings: Arc<ConnectionSettings>,
    shared_bytes: Arc<Semaphore>,
    own_names_only: bool,
    acceptor: Option<TlsAcceptor>,
}

impl Default for ConnectionPolicy {
    fn default() -> Self {
        Self::new(ConnectionSettings::default())
    }
}

impl ConnectionPolicy {
    /// A policy with a budget of its own.
    pub fn new(settings: ConnectionSettings) -> Self {
        let shared_bytes = Arc::new(Semaphore::new(settings.max_shared_bytes));
        Self {
            settings: Arc::new(settings),
            shared_bytes,
            own_names_only: false,
            acceptor: None,
        }
    }

    /// The same for a listener that answers only to its own names, wherever it is bound. Any listener bound to loopback does.
    pub fn for_operators(&self) -> Self {
        Self {
            own_names_only: true,
            ..self.clone()
        }
    }

    /// The same for a listener that speaks TLS, and shows this.
    pub fn with_tls(&self, identity: &Arc<ServerIdentity>) -> Self {
        Self {
            acceptor: Some(Arc::new(identity.server_config()).into()),
            ..self.clone()
        }
    }

    /// How a handshake is made, where TLS is spoken.
    pub(super) fn acceptor(&self) -> Option<&TlsAcceptor> {
        self.acceptor.as_ref()
    }

    /// The same for a listener that serves at most `max_connections` at once.
    pub fn with_max_connections(&self, max_connections: usize) -> Self {
        Self {
            settings: Arc::new(ConnectionSettings {
                max_connections,
                ..(*self.settings).clone()
            }),
            ..self.clone()
        }
    }

    /// Connections that a listener serves at once.
    pub fn max_connections(&self) -> usize {
        self.settings.max_connections
    }

    pub(super) fn max_connections_per_peer(&self) -> usize {
        let most = self.settings.max_connections - self.settings.max_connections / 5;
        self.settings.max_connections_per_peer.min(most)
    }

    pub(super) fn idle_timeout(&self) -> Duration {
        self.settings.idle_timeout
    }

    /// The rule for a listener that is bound to `local`.
    pub(super) fn host_rule(&self, local: SocketAddr) -> HostRule {
        if !self.own_names_only && !local.ip().to_canonical().is_loopback() {
            return HostRule::Any;
        }
        let allowed = self.settings.allowed_hosts.clone();
        HostRule::OwnNames {
            any_address: local.ip().is_unspecified(),
            allowed,
        }
    }

    /// Takes `bytes` of the shared budget until they are dropped; `None` when they are not there.
    pub(super) fn take(&self, bytes: usize) -> Option<SharedBytes> {
        let permits = u32::try_from(bytes).ok()?;
        self.shared_bytes
            .clone()
            .try_acquire_many_owned(permits)
            .ok()
    }

    /// What a request's body may need beyond the connection's own bytes; refuses one for which it is not there.
    pub(super) fn take_for_body(&self, body: &Incoming) -> Result<Option<SharedBytes>, Problem> {
        if body
            .size_hint()
            .upper()
            .is_some_and(|bytes| bytes <= OWN_BYTES as u64)
        {
            return Ok(None);
        }
        self.take(MAX_BODY_BYTES)
            .map(Some)
            .ok_or(Problem::Overloaded)
    }
}

/// A part of the shared budget; given back when it is dropped.
pub(super) type SharedBytes = OwnedSemaphorePermit;
