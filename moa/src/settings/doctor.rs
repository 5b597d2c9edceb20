//! The settings of `moa doctor`: those of `moa serve` that say what it connects to, and what it reads.

use super::groups::{BrokerSettings, CacheSettings, DatabaseSettings};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// What is checked.
#[derive(Clone, Debug, Args)]
pub struct DoctorSettings {
    /// As the login of this service alone; without it, of everything in one process
    pub service: Option<ServiceName>,
    /// Which database.
    #[command(flatten)]
    pub database: DatabaseSettings,
    /// Which broker.
    #[command(flatten)]
    pub broker: BrokerSettings,
    /// Which cache.
    #[command(flatten)]
    pub cache: CacheSettings,
    /// The key to seal with
    #[arg(long, value_name = "FILE", env = "MOA_SEAL_KEY_FILE")]
    pub seal_key_file: Option<PathBuf>,
    /// The certificate of the read, write and admin listeners
    #[arg(long, value_name = "FILE", env = "MOA_TLS_CERT_FILE")]
    pub tls_cert_file: Option<PathBuf>,
    /// As JSON instead of lines
    #[arg(long)]
    pub json: bool,
}

/// A service that runs alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "they are the services")]
pub enum ServiceName {
    CommandApi,
    QueryApi,
    Projector,
    Relay,
    Admin,
    Sealer,
}
