//! A certificate of Moa's own, with its key.

use crate::pem::{self, PemError};
use crate::provider::install_provider;
use rustls::crypto::ring;
use rustls::sign::CertifiedKey;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A certificate, those that lead from it to its CA, and its private key, which fits.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    certificate_pem: Arc<Vec<u8>>,
    key_pem: Arc<Vec<u8>>,
}

/// Files that do not make an identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// One of them is no certificate or key.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// They are of two certificates, or of a kind that cannot be used.
    #[error("the key in {} is not the one of the certificate in {}, or of a kind that TLS does not use: {error}", key.display(), certificate.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What was found.
        error: rustls::Error,
    },
}

impl Identity {
    /// Reads both files, in PEM. Who else may read the key is for the caller to check.
    ///
    /// # Errors
    /// One is no such file, or they do not fit.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, IdentityError> {
        install_provider();
        let (certificate_pem, key_pem) = (pem::read(certificate)?, pem::read(key)?);
        let chain = pem::certificates(certificate, &certificate_pem)?;
        let private = pem::key(key, &key_pem)?;
        let certified = CertifiedKey::from_der(chain, private, &ring::default_provider());
        let certified = certified.map_err(|error| IdentityError::Mismatch {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            error,
        })?;
        Ok(Self {
            certified: Arc::new(certified),
            certificate_pem: Arc::new(certificate_pem),
            key_pem: Arc::new(key_pem),
        })
    }

    /// The certificate with its chain, as rustls uses it.
    pub fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    /// When the certificate expires, in seconds since 1970; `None` if it does not say.
    pub fn not_after(&self) -> Option<i64> {
        pem::not_after(self.certified.cert.first()?)
    }

    /// The certificate's file and the key's, for a client that parses them itself.
    pub fn pem(&self) -> (&[u8], &[u8]) {
        (&self.certificate_pem, &self.key_pem)
    }
}

impl fmt::Debug for Identity {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(secret)")
    }
}
