//! What a listener shows, read again when its files change: certificates are renewed while Moa runs.

use crate::identity::Identity;
use crate::pem;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the files are read again at most: when somebody connects, or asks when the certificate expires, after that.
pub const IDENTITY_REFRESH_INTERVAL: Duration = Duration::from_secs(5);
/// What is spoken over TLS.
const PROTOCOL: &[u8] = b"http/1.1";

type ReadIdentity = dyn Fn() -> Result<Identity, Box<dyn Error + Send + Sync>> + Send + Sync;

/// The identity of a listener. Files that cannot be used leave the one that was read before in use, and are logged.
pub struct ServerIdentity {
    read: Box<ReadIdentity>,
    current: Mutex<Current>,
}

struct Current {
    certified: Arc<CertifiedKey>,
    read_at: Instant,
    fault: Option<String>,
}

impl ServerIdentity {
    /// Reads it, now and again later.
    ///
    /// # Errors
    /// It cannot be read now.
    pub fn open<E: Into<Box<dyn Error + Send + Sync>>>(
        read: impl Fn() -> Result<Identity, E> + Send + Sync + 'static,
    ) -> Result<Arc<Self>, E> {
        let certified = read()?.certified().clone();
        let current = Current {
            certified,
            read_at: Instant::now(),
            fault: None,
        };
        Ok(Arc::new(Self {
            read: Box::new(move || read().map_err(Into::into)),
            current: Mutex::new(current),
        }))
    }

    /// How a listener speaks TLS 1.2 and 1.3 for HTTP/1.1, and asks its clients for no certificate.
    pub fn server_config(self: &Arc<Self>) -> ServerConfig {
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        config.alpn_protocols = vec![PROTOCOL.to_owned()];
        config
    }

    /// When the certificate that is shown now expires, in seconds since 1970; `None` if it does not say.
    pub fn not_after(&self) -> Option<i64> {
        pem::not_after(self.current().cert.first()?)
    }

    fn current(&self) -> Arc<CertifiedKey> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.read_at.elapsed() >= IDENTITY_REFRESH_INTERVAL {
            current.refresh((self.read)());
        }
        current.certified.clone()
    }
}

impl Current {
    fn refresh(&mut self, read: Result<Identity, Box<dyn Error + Send + Sync>>) {
        self.read_at = Instant::now();
        match read {
            Ok(identity) if identity.certified().cert == self.certified.cert => self.fault = None,
            Ok(identity) => {
                tracing::info!("the listeners' certificate was replaced");
                self.certified = identity.certified().clone();
                self.fault = None;
            }
            Err(error) => self.report(&format!("{error:#}")),
        }
    }

    fn report(&mut self, fault: &str) {
        if self.fault.as_deref() != Some(fault) {
            tracing::warn!(
                error = fault,
                "the listeners' certificate cannot be read again; the one read before stays in use"
            );
            self.fault = Some(fault.to_owned());
        }
    }
}

impl ResolvesServerCert for ServerIdentity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

impl fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerIdentity(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use testbed::TempFolder;
    use testbed::certificates::Authority;

    /// 1. Files are read. 2. They cannot be, twice: it is said once, and nothing changes. 3. They have another certificate.
    #[test]
    fn files_that_cannot_be_used_change_nothing_until_they_can() {
        let (folder, authority) = (TempFolder::new("tls"), Authority::new("a"));
        let issued = || {
            let files = authority.issue("a.example").write(&folder);
            Identity::read(Path::new(&files.certificate), Path::new(&files.key)).expect("they fit")
        };
        let (first, second) = (issued(), issued());
        let mut current = Current {
            certified: first.certified().clone(),
            read_at: Instant::now(),
            fault: None,
        };
        for _ in 0..2 {
            current.refresh(Err("no such file".into()));
            assert_eq!(current.certified.cert, first.certified().cert);
            assert_eq!(current.fault.as_deref(), Some("no such file"));
        }
        current.refresh(Ok(second.clone()));
        assert_eq!(current.certified.cert, second.certified().cert);
        assert_eq!(current.fault, None);
    }
}
