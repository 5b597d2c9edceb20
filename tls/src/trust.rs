//! Whose certificates are believed.

use crate::identity::Identity;
use crate::pem::{self, PemError};
use crate::provider::install_provider;
use rustls::pki_types::CertificateDer;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// The CAs whose certificates are believed: the system's, and those of one more file; and the certificate that Moa shows to servers
/// which ask for one. Cheap to clone. The system's CAs are read when they are first needed.
#[derive(Clone, Debug)]
pub struct Trust(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    ca_file: Option<PathBuf>,
    added: Vec<CertificateDer<'static>>,
    identity: Option<Identity>,
    roots: OnceLock<Roots>,
}

#[derive(Debug)]
struct Roots {
    pem: String,
    config: ClientConfig,
}

impl Default for Trust {
    /// The system's CAs, and nothing shown.
    fn default() -> Self {
        Self::of(None, Vec::new(), None)
    }
}

impl Trust {
    /// The system's CAs and those in `ca_file`, in PEM; `identity` is shown to servers that ask for a client's certificate.
    ///
    /// # Errors
    /// The file has no certificates.
    pub fn open(ca_file: Option<&Path>, identity: Option<Identity>) -> Result<Self, PemError> {
        let added = match ca_file {
            Some(path) => pem::certificates(path, &pem::read(path)?)?,
            None => Vec::new(),
        };
        Ok(Self::of(ca_file.map(Path::to_owned), added, identity))
    }

    fn of(
        ca_file: Option<PathBuf>,
        added: Vec<CertificateDer<'static>>,
        identity: Option<Identity>,
    ) -> Self {
        install_provider();
        Self(Arc::new(Shared {
            ca_file,
            added,
            identity,
            roots: OnceLock::new(),
        }))
    }

    /// The file of CAs that were added to the system's.
    pub fn ca_file(&self) -> Option<&Path> {
        self.0.ca_file.as_deref()
    }

    /// What is shown to servers that ask for a client's certificate.
    pub fn identity(&self) -> Option<&Identity> {
        self.0.identity.as_ref()
    }

    /// How a client meets servers: it believes these CAs, verifies names, and shows its identity.
    pub fn client_config(&self) -> ClientConfig {
        self.roots().config.clone()
    }

    /// All CAs, for a client that parses them itself.
    pub fn roots_pem(&self) -> &str {
        &self.roots().pem
    }

    fn roots(&self) -> &Roots {
        self.0.roots.get_or_init(|| {
            let mut certificates = [system_certificates(), self.0.added.clone()].concat();
            let mut store = RootCertStore::empty();
            // A system's bundle may have some of a form that nobody uses any more.
            certificates.retain(|certificate| store.add(certificate.clone()).is_ok());
            Roots {
                pem: pem::encode(&certificates),
                config: client_config(store, self.identity()),
            }
        })
    }
}

fn client_config(roots: RootCertStore, identity: Option<&Identity>) -> ClientConfig {
    let config = ClientConfig::builder().with_root_certificates(roots);
    match identity {
        Some(identity) => {
            let shown = SingleCertAndKey::from(identity.certified().clone());
            config.with_client_cert_resolver(Arc::new(shown))
        }
        None => config.with_no_client_auth(),
    }
}

/// Where OpenSSL would look: the distribution's bundle, or what `SSL_CERT_FILE` and `SSL_CERT_DIR` name.
fn system_certificates() -> Vec<CertificateDer<'static>> {
    let found = rustls_native_certs::load_native_certs();
    // Whoever speaks no TLS needs none of them, and a certificate that is not believed says what to do.
    found.errors.iter().for_each(
        |error| tracing::debug!(%error, "some of the system's CA certificates cannot be read"),
    );
    found.certs
}
