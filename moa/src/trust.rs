//! Whose certificates this process believes. Like the provider of cryptography it is one for the whole process.

use crate::secret_file;
use crate::settings::TlsSettings;
use anyhow::{Context, bail};
use std::path::Path;
use std::sync::OnceLock;
use tls::{Identity, Trust};

static TRUST: OnceLock<Trust> = OnceLock::new();

/// Takes what is set, once, before anything connects.
///
/// # Errors
/// A file has no certificates, or the key is not the certificate's, or others may read it.
pub fn set(settings: &TlsSettings) -> anyhow::Result<()> {
    let trust = Trust::open(settings.tls_ca_file.as_deref(), shown(settings)?)
        .context("MOA_TLS_CA_FILE")?;
    // A second call in one process changes nothing.
    TRUST.set(trust).ok();
    Ok(())
}

/// What was set; the system's CAs where nothing was.
pub(crate) fn of_process() -> &'static Trust {
    TRUST.get_or_init(Trust::default)
}

/// A client of HTTP servers, over TLS too. It uses no proxy of the environment, which would be sent the tokens.
pub(crate) fn http_client() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .no_proxy()
        .tls_backend_preconfigured(of_process().client_config())
}

/// Why no answer came, in one sentence: the library names what it was about to do, again and again.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub(crate) struct NoAnswerError {
    why: String,
    /// Whether nobody listens there.
    pub(crate) is_refused: bool,
}

/// The last of an error's causes, or what TLS has to say of it.
pub(crate) fn explained(error: reqwest::Error) -> NoAnswerError {
    let why = tls::explain(&error);
    let error = anyhow::Error::from(error);
    let refused = |cause: &std::io::Error| cause.kind() == std::io::ErrorKind::ConnectionRefused;
    NoAnswerError {
        why: why.unwrap_or_else(|| error.root_cause().to_string()),
        is_refused: error
            .chain()
            .any(|cause| cause.downcast_ref().is_some_and(refused)),
    }
}

fn shown(settings: &TlsSettings) -> anyhow::Result<Option<Identity>> {
    match (
        &settings.tls_client_cert_file,
        &settings.tls_client_key_file,
    ) {
        (Some(certificate), Some(key)) => identity(certificate, key)
            .context("MOA_TLS_CLIENT_CERT_FILE")
            .map(Some),
        (None, None) => Ok(None),
        _ => bail!("set both MOA_TLS_CLIENT_CERT_FILE and MOA_TLS_CLIENT_KEY_FILE, or neither"),
    }
}

/// The certificate with its key, which nobody else may read.
pub(crate) fn identity(certificate: &Path, key: &Path) -> anyhow::Result<Identity> {
    secret_file::check(key)?;
    Ok(Identity::read(certificate, key)?)
}
