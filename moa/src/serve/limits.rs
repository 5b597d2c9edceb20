//! The limits of a process's listeners: connections, by the number of files that the process may open and by the settings.

use crate::ops::Ops;
use crate::settings::ListenerSettings;
use crate::trust;
use anyhow::Context;
use edge::{ConnectionPolicy, ConnectionSettings, MAX_CONNECTIONS};
use std::net::SocketAddr;
use std::sync::Arc;
use tls::ServerIdentity;
use tokio::net::TcpListener;

/// Open files that are not for clients: connections to the servers, log, data, pipes.
const MAX_OTHER_FILES: usize = 256;
/// Connections of the admin listener and the ops port.
const MAX_OPERATOR_CONNECTIONS: usize = 1_000;
/// With fewer public connections than this a rush is turned away, which is worth a warning.
const LOW_CONNECTION_LIMIT: usize = 1_000;

/// How the listeners of a process treat their connections; all share one budget of memory.
pub(super) struct ListenerLimits {
    /// For the public listeners.
    pub(super) public: ConnectionPolicy,
    /// For the ops port.
    pub(super) ops: ConnectionPolicy,
    /// For the admin listener.
    pub(super) admin: ConnectionPolicy,
    /// What they show, where they speak TLS.
    identity: Option<Arc<ServerIdentity>>,
}

impl ListenerLimits {
    /// Raises the limit of open files to what the system allows, and shares it out among `public_listeners` and the
    /// operators' one. Says so where that is too little.
    ///
    /// # Errors
    /// The limit cannot be read, or the certificate.
    pub(super) fn open(
        settings: &ListenerSettings,
        public_listeners: usize,
    ) -> anyhow::Result<Self> {
        let files = rlimit::increase_nofile_limit(u64::MAX)
            .context("the limit of open files cannot be read")?;
        let places = ConnectionLimits::of(
            usize::try_from(files).unwrap_or(usize::MAX),
            public_listeners,
        );
        places.tell(files, public_listeners);
        let public = ConnectionPolicy::new(ConnectionSettings {
            max_connections: places.public,
            max_connections_per_peer: settings.max_connections_per_peer,
            idle_timeout: settings.idle_timeout_seconds,
            allowed_hosts: settings.allowed_hosts.clone(),
            ..ConnectionSettings::default()
        });
        let (ops, identity) = (
            public.with_max_connections(places.operators),
            identity(settings)?,
        );
        let (public, admin) = match &identity {
            Some(identity) => (
                public.with_tls(identity),
                ops.for_operators().with_tls(identity),
            ),
            None => (public, ops.for_operators()),
        };
        Ok(Self {
            admin,
            ops,
            public,
            identity,
        })
    }

    /// Whether the public listeners and the admin listener speak TLS.
    pub(super) fn is_encrypted(&self) -> bool {
        self.identity.is_some()
    }

    /// Shows among the metrics when the certificate expires.
    pub(super) fn show_certificate(&self, ops: &Ops) {
        self.identity
            .iter()
            .for_each(|identity| ops.watch_certificate(identity));
    }
}

/// What the listeners show, where they speak TLS. The ops port does not: it is for probes that call it by address.
fn identity(settings: &ListenerSettings) -> anyhow::Result<Option<Arc<ServerIdentity>>> {
    let (Some(certificate), Some(key)) = (
        settings.tls_cert_file.clone(),
        settings.tls_key_file.clone(),
    ) else {
        return Ok(None);
    };
    let read = move || trust::identity(&certificate, &key);
    ServerIdentity::open(read)
        .context("MOA_TLS_CERT_FILE")
        .map(Some)
}

/// How many connections each listener takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ConnectionLimits {
    public: usize,
    operators: usize,
}

impl ConnectionLimits {
    /// Operators get an eighth, so that they can look when the public listeners are full.
    fn of(files: usize, public_listeners: usize) -> Self {
        let files = files
            .saturating_sub(MAX_OTHER_FILES)
            .max(MAX_OTHER_FILES / 4);
        let operators = (files / 8).min(MAX_OPERATOR_CONNECTIONS);
        let public = ((files - operators) / public_listeners.max(1)).min(MAX_CONNECTIONS);
        Self { public, operators }
    }

    fn tell(self, files: u64, public_listeners: usize) {
        let enough =
            MAX_CONNECTIONS * public_listeners + MAX_OPERATOR_CONNECTIONS + MAX_OTHER_FILES;
        let connections = self.public;
        if public_listeners == 0 || connections == MAX_CONNECTIONS {
            return;
        }
        if connections >= LOW_CONNECTION_LIMIT {
            tracing::info!(
                files,
                connections,
                "the limit of open files bounds the connections of each public listener"
            );
            return;
        }
        tracing::warn!(
            files,
            connections,
            "the limit of open files is low: each public listener takes only so many connections at once; raise the hard \
             limit (ulimit -Hn, LimitNOFILE of systemd, ulimits.nofile of a container) to {enough}"
        );
    }
}

/// A listener, or the sentence that names the flag.
pub(super) fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    edge::listen(address).map_err(|error| {
        anyhow::anyhow!("cannot listen on {address} ({error}): stop what is there, or choose another with {flag}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::unlimited(usize::MAX, 2, 10_000, 1_000)]
    #[case::a_container(20_480, 1, 10_000, 1_000)]
    #[case::a_shell(1_024, 1, 672, 96)]
    #[case::a_shell_with_all_in_one(1_024, 2, 336, 96)]
    #[case::hardly_any(64, 2, 28, 8)]
    fn files_are_shared_out(
        #[case] files: usize,
        #[case] public_listeners: usize,
        #[case] public: usize,
        #[case] operators: usize,
    ) {
        assert_eq!(
            ConnectionLimits::of(files, public_listeners),
            ConnectionLimits { public, operators }
        );
    }
}
