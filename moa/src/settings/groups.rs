//! The groups of settings that `moa serve` and its services are made of: each stands once, wherever it is asked for.

use super::{Limit, ReadLimitSettings, UserAuthSettings, WriteLimitSettings};
use crate::secret::Secret;
use clap::{Args, ValueEnum};
use edge::{AllowedHost, AllowedOrigin, ServiceTime};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The default address of a service's ops port.
pub(super) const DEFAULT_OPS_LISTEN: &str = "127.0.0.1:8090";
/// The default address of the admin listener.
pub(super) const DEFAULT_ADMIN_LISTEN: &str = "127.0.0.1:8082";

/// Which database.
#[derive(Clone, Debug, Args)]
pub struct DatabaseSettings {
    /// The PostgreSQL to use, e.g. postgres://user@host/moa; without it Moa starts a private one
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<Secret>,
    /// Where the private PostgreSQL keeps its data
    #[arg(long, env = "MOA_DATA_DIR", default_value_os_t = crate::postgres::default_data_dir())]
    pub data_dir: PathBuf,
    /// Keep no data: a private PostgreSQL that is gone when Moa stops
    #[arg(long)]
    pub ephemeral: bool,
}

/// The sealer.
#[derive(Clone, Debug, Args)]
pub struct SealSettings {
    /// The key to seal with: an Ed25519 key in PKCS#8 PEM, as `moa audit key` makes it; with a private PostgreSQL Moa makes
    /// one in its data folder
    #[arg(long, value_name = "FILE", env = "MOA_SEAL_KEY_FILE")]
    pub seal_key_file: Option<PathBuf>,
    /// What is kept outside the database.
    #[command(flatten)]
    pub outside: ExternalSealsSettings,
}

/// What is kept outside the database to compare the log with.
#[derive(Clone, Debug, Args)]
pub struct ExternalSealsSettings {
    /// The file outside the database that seals are added to; verifications read it, and a start before it takes writes
    #[arg(long, value_name = "FILE", env = "MOA_SEALS_FILE")]
    pub seals_file: Option<PathBuf>,
    /// Public keys that seals were made with, files in PEM separated by commas
    #[arg(long, env = "MOA_SEAL_PUBLIC_KEY_FILES", value_delimiter = ',')]
    pub seal_public_key_files: Vec<PathBuf>,
}

/// What every service alone needs.
#[derive(Clone, Debug, Args)]
pub struct ServerSettings {
    /// The PostgreSQL to use, e.g. postgres://user@host/moa; it is waited for
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Secret,
    /// Which log.
    #[command(flatten)]
    pub log: LogSettings,
}

/// Which log, in which schema.
#[derive(Clone, Copy, Debug, Args)]
pub struct LogSettings {
    /// Partitions of a new log, 1 to 64; an existing log keeps its own [default: 4]
    #[arg(long, env = "MOA_PARTITIONS", value_parser = clap::value_parser!(i32).range(1..=64))]
    pub partitions: Option<i32>,
    /// Work with the schema of a later release, up to this migration: to go back, or while a later release is deployed
    #[arg(long, env = "MOA_NEWER_SCHEMA", value_name = "MIGRATION")]
    pub newer_schema: Option<i64>,
}

/// Which broker.
#[derive(Clone, Debug, Args)]
pub struct BrokerSettings {
    /// The RabbitMQ that carries the events, e.g. amqp://user:password@host, amqps:// for TLS; without it they are read from the log
    #[arg(long, value_name = "URL", env = "AMQP_URL", hide_env_values = true)]
    pub amqp_url: Option<Secret>,
}

/// Which cache.
#[derive(Clone, Debug, Args)]
pub struct CacheSettings {
    /// The Redis that keeps the products' counters, e.g. redis://host, rediss:// for TLS; without it they are read from PostgreSQL
    #[arg(long, value_name = "URL", env = "REDIS_URL", hide_env_values = true)]
    pub redis_url: Option<Secret>,
}

/// The read side.
#[derive(Clone, Debug, Args)]
pub struct QuerySettings {
    /// Where the read side listens
    #[arg(long, env = "MOA_QUERY_LISTEN", default_value = "127.0.0.1:8080")]
    pub query_listen: SocketAddr,
    /// How often it may be called.
    #[command(flatten)]
    pub limits: ReadLimitSettings,
}

/// The write side.
#[derive(Clone, Debug, Args)]
pub struct CommandSettings {
    /// Where the write side listens
    #[arg(long, env = "MOA_COMMAND_LISTEN", default_value = "127.0.0.1:8081")]
    pub command_listen: SocketAddr,
    /// How many seconds a reservation waits for its settlement before it is given up, 1 to 604800
    #[arg(long, env = "MOA_RESERVATION_SECONDS", default_value = "600", value_parser = seconds)]
    pub reservation_seconds: Duration,
    /// Who is asked for the payment: `approve` says yes to all, `http` asks --payment-url
    #[arg(long, env = "MOA_PAYMENT_PROVIDER", default_value = "approve")]
    pub payment_provider: PaymentProvider,
    /// The payment provider, e.g. http://payments:9000; docs/payment-provider.md has its protocol
    #[arg(
        long,
        value_name = "URL",
        env = "MOA_PAYMENT_URL",
        hide_env_values = true,
        required_if_eq("payment_provider", "http")
    )]
    pub payment_url: Option<Secret>,
    /// How often it may be called.
    #[command(flatten)]
    pub limits: WriteLimitSettings,
}

/// Who is asked for payments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PaymentProvider {
    /// Says yes to all.
    Approve,
    /// A service over HTTP.
    Http,
}

/// How a side meets the public.
#[derive(Clone, Debug, Args)]
pub struct PublicSettings {
    /// The zone of the times that go out, and of those that come in without an offset
    #[arg(long, env = "MOA_TIME_ZONE", default_value = "Asia/Seoul")]
    pub time_zone: ServiceTime,
    /// Origins that browsers may call from, separated by commas; without any, on loopback, those of this machine
    #[arg(long, env = "MOA_ALLOWED_ORIGINS", value_delimiter = ',')]
    pub allowed_origins: Vec<AllowedOrigin>,
    /// Who the users are.
    #[command(flatten)]
    pub users: UserAuthSettings,
}

/// How long events gather under load before they are applied together.
#[derive(Clone, Copy, Debug, Args)]
pub struct LingerSettings {
    /// How many milliseconds events gather under load before the products' amounts follow, 1 to 10000
    #[arg(long, env = "MOA_LINGER_AMOUNTS_MS", default_value = "50", value_parser = linger)]
    pub linger_amounts_ms: Duration,
    /// The same for what users see of their own invests
    #[arg(long, env = "MOA_LINGER_VIEWS_MS", default_value = "500", value_parser = linger)]
    pub linger_views_ms: Duration,
    /// The same for the index that audits search
    #[arg(long, env = "MOA_LINGER_SEARCH_MS", default_value = "1000", value_parser = linger)]
    pub linger_search_ms: Duration,
}

impl LingerSettings {
    pub(crate) fn lingers(&self) -> projector::Lingers {
        let Self {
            linger_amounts_ms: amounts,
            linger_views_ms: views,
            linger_search_ms: search,
        } = *self;
        projector::Lingers {
            amounts,
            views,
            search,
        }
    }
}

/// How long read models are put off while many invests are accepted at once, where processors and consumers share a process.
#[derive(Clone, Copy, Debug, Args)]
pub struct DeferralSettings {
    /// How many milliseconds what users see of their own invests is put off while many invests are accepted at once, 0 to
    /// 60000; who reads with a consistency token ends it for a minute
    #[arg(long, env = "MOA_DEFER_VIEWS_MS", default_value = "10000", value_parser = deferral)]
    pub defer_views_ms: Duration,
    /// The same for the index that audits search
    #[arg(long, env = "MOA_DEFER_SEARCH_MS", default_value = "30000", value_parser = deferral)]
    pub defer_search_ms: Duration,
}

impl DeferralSettings {
    pub(crate) fn deferrals(&self) -> projector::Deferrals {
        projector::Deferrals {
            views: self.defer_views_ms,
            search: self.defer_search_ms,
        }
    }
}

/// How the listeners of a process treat their connections.
#[derive(Clone, Debug, Args)]
pub struct ListenerSettings {
    /// How many seconds a connection may idle before its first request and between requests, 1 to 3600; more than the
    /// proxies before it allow theirs
    #[arg(long, env = "MOA_IDLE_TIMEOUT_SECONDS", default_value = "75", value_parser = idle_seconds)]
    pub idle_timeout_seconds: Duration,
    /// Connections that one address may have at one listener, an IPv6 address being its /64; never more than four fifths of
    /// all. Behind a proxy all come from the proxy's address
    #[arg(long, env = "MOA_MAX_CONNECTIONS_PER_PEER", default_value = "8000", value_parser = connections)]
    pub max_connections_per_peer: usize,
    /// Names that the admin listener, and any listener on loopback, answers to beside localhost and its address, separated by
    /// commas
    #[arg(long, env = "MOA_ALLOWED_HOSTS", value_delimiter = ',')]
    pub allowed_hosts: Vec<AllowedHost>,
    /// The certificate, with its chain in PEM, that makes the read, write and admin listeners speak TLS; read again when it changes
    #[arg(
        long,
        value_name = "FILE",
        env = "MOA_TLS_CERT_FILE",
        requires = "tls_key_file"
    )]
    pub tls_cert_file: Option<PathBuf>,
    /// Its private key, in PEM without a passphrase
    #[arg(
        long,
        value_name = "FILE",
        env = "MOA_TLS_KEY_FILE",
        requires = "tls_cert_file"
    )]
    pub tls_key_file: Option<PathBuf>,
}

impl ListenerSettings {
    /// How the read, write and admin listeners are called.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls_cert_file.is_some() {
            "https"
        } else {
            "http"
        }
    }
}

/// Where a service alone says how it is.
#[derive(Clone, Debug, Args)]
pub struct OpsSettings {
    /// Where the service answers /livez, /readyz and /metrics; never to be exposed
    #[arg(long, env = "MOA_OPS_LISTEN", default_value = DEFAULT_OPS_LISTEN)]
    pub ops_listen: SocketAddr,
}

/// The admin listener.
#[derive(Clone, Debug, Args)]
pub struct AdminListenSettings {
    /// Where operators and auditors are served; never to be exposed with the other two
    #[arg(long, env = "MOA_ADMIN_LISTEN", default_value = DEFAULT_ADMIN_LISTEN)]
    pub admin_listen: SocketAddr,
    /// The operator's bearer token; without one, and without a file of tokens, Moa makes and prints one
    #[arg(long, env = "MOA_OPERATOR_TOKEN", hide_env_values = true)]
    pub operator_token: Option<Secret>,
    /// A file that holds the operator's token
    #[arg(
        long,
        value_name = "FILE",
        env = "MOA_OPERATOR_TOKEN_FILE",
        conflicts_with = "operator_token"
    )]
    pub operator_token_file: Option<PathBuf>,
    /// The auditor's bearer token; without one, there is no auditor
    #[arg(long, env = "MOA_AUDITOR_TOKEN", hide_env_values = true)]
    pub auditor_token: Option<Secret>,
    /// A file that holds the auditor's token
    #[arg(
        long,
        value_name = "FILE",
        env = "MOA_AUDITOR_TOKEN_FILE",
        conflicts_with = "auditor_token"
    )]
    pub auditor_token_file: Option<PathBuf>,
    /// A file of named tokens, one on each line: name, role and hash, as `moa token new` prints it; read again when it changes
    #[arg(long, value_name = "FILE", env = "MOA_TOKENS_FILE")]
    pub tokens_file: Option<PathBuf>,
    /// Wrong tokens of one address, such as 1/m:10, at most 10 at once; or off. Past it even the right one is refused from there
    #[arg(long, env = "MOA_LIMIT_TOKEN_GUESSES")]
    pub limit_token_guesses: Option<Limit>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    whole_number(text, 604_800).map(Duration::from_secs)
}

fn linger(text: &str) -> Result<Duration, String> {
    whole_number(text, 10_000).map(Duration::from_millis)
}

fn deferral(text: &str) -> Result<Duration, String> {
    const MAX_DEFERRAL_MS: u64 = 60_000;
    let number = text
        .parse()
        .ok()
        .filter(|number| *number <= MAX_DEFERRAL_MS);
    number
        .map(Duration::from_millis)
        .ok_or_else(|| format!("must be a whole number from 0 to {MAX_DEFERRAL_MS}"))
}

fn idle_seconds(text: &str) -> Result<Duration, String> {
    whole_number(text, 3_600).map(Duration::from_secs)
}

fn connections(text: &str) -> Result<usize, String> {
    let number = whole_number(text, 1_000_000)?;
    usize::try_from(number).map_err(|error| error.to_string())
}

fn whole_number(text: &str, most: u64) -> Result<u64, String> {
    match text.parse::<u64>() {
        Ok(number) if (1..=most).contains(&number) => Ok(number),
        _ => Err(format!("must be a whole number from 1 to {most}")),
    }
}
