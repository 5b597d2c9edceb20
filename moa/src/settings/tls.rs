//! The settings of TLS towards servers.

use clap::Args;
use std::path::PathBuf;

/// Whom connections with TLS believe, and what they show.
#[derive(Clone, Debug, Default, Args)]
pub struct TlsSettings {
    /// CA certificates in PEM that are trusted beside the system's
    #[arg(long, value_name = "FILE", env = "MOA_TLS_CA_FILE", global = true)]
    pub tls_ca_file: Option<PathBuf>,
    /// The certificate, with its chain, that RabbitMQ, Redis and HTTP servers are shown when they ask for one
    #[arg(
        long,
        value_name = "FILE",
        env = "MOA_TLS_CLIENT_CERT_FILE",
        global = true
    )]
    pub tls_client_cert_file: Option<PathBuf>,
    /// Its private key, in PEM without a passphrase
    #[arg(
        long,
        value_name = "FILE",
        env = "MOA_TLS_CLIENT_KEY_FILE",
        global = true
    )]
    pub tls_client_key_file: Option<PathBuf>,
}
