//! The settings of `moa serve`: of everything in one process, and of each service alone, from the same groups.

use super::groups::{
    AdminListenSettings, BrokerSettings, CacheSettings, CommandSettings, DatabaseSettings,
    DeferralSettings, ExternalSealsSettings, LingerSettings, ListenerSettings, LogSettings,
    OpsSettings, PublicSettings, QuerySettings, SealSettings, ServerSettings,
};
use crate::secret::Secret;
use clap::{Args, Subcommand};
use edge::ServiceTime;
use std::path::PathBuf;

/// `moa serve`, with or without a service.
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Serve {
    /// One service alone; without it, everything.
    #[command(subcommand)]
    pub service: Option<Service>,
    /// The settings of everything in one process.
    #[command(flatten)]
    pub all: ServeSettings,
}

impl Serve {
    /// What its process is called in traces, unless that is set.
    pub fn name_in_traces(&self) -> String {
        self.service.as_ref().map_or_else(
            || "moa".to_owned(),
            |service| format!("moa-{}", service.name()),
        )
    }
}

/// A service that runs alone, as often as wanted.
#[derive(Clone, Debug, Subcommand)]
pub enum Service {
    /// The write side and settlement
    CommandApi(CommandApiSettings),
    /// The read side
    QueryApi(QueryApiSettings),
    /// The read models and the counters in Redis
    Projector(ProjectorSettings),
    /// Publishes the log to RabbitMQ
    Relay(RelaySettings),
    /// For operators and auditors
    Admin(AdminServiceSettings),
    /// Signs what is new in the log, and keeps the seals in a file outside the database
    #[command(
        override_usage = "moa serve sealer [OPTIONS] --database-url <URL> --seal-key-file <FILE>\n       --seals-file <FILE>"
    )]
    Sealer(SealerSettings),
}

impl Service {
    /// As it is named on the command line.
    fn name(&self) -> &'static str {
        match self {
            Self::CommandApi(_) => "command-api",
            Self::QueryApi(_) => "query-api",
            Self::Projector(_) => "projector",
            Self::Relay(_) => "relay",
            Self::Admin(_) => "admin",
            Self::Sealer(_) => "sealer",
        }
    }
}

/// The settings of `moa migrate`.
#[derive(Clone, Debug, Args)]
pub struct MigrateSettings {
    /// Which database.
    #[command(flatten)]
    pub database: DatabaseSettings,
    /// Which log; where its partitions are named, a new one is created.
    #[command(flatten)]
    pub log: LogSettings,
    /// List the migrations that are to be run, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// The settings of everything in one process.
#[derive(Clone, Debug, Args)]
pub struct ServeSettings {
    /// Which database.
    #[command(flatten)]
    pub database: DatabaseSettings,
    /// Which log.
    #[command(flatten)]
    pub log: LogSettings,
    /// Which broker.
    #[command(flatten)]
    pub broker: BrokerSettings,
    /// Which cache.
    #[command(flatten)]
    pub cache: CacheSettings,
    /// Open no demo products on an empty log
    #[arg(long)]
    pub no_demo: bool,
    /// The read side.
    #[command(flatten)]
    pub query: QuerySettings,
    /// The write side.
    #[command(flatten)]
    pub command: CommandSettings,
    /// How events gather under load.
    #[command(flatten)]
    pub linger: LingerSettings,
    /// How accepting goes first.
    #[command(flatten)]
    pub deferral: DeferralSettings,
    /// Both public sides.
    #[command(flatten)]
    pub public: PublicSettings,
    /// The admin listener.
    #[command(flatten)]
    pub admin: AdminListenSettings,
    /// The sealer.
    #[command(flatten)]
    pub seal: SealSettings,
    /// All listeners.
    #[command(flatten)]
    pub listeners: ListenerSettings,
}

/// The settings of `moa serve command-api`.
#[derive(Clone, Debug, Args)]
pub struct CommandApiSettings {
    /// What every service needs.
    #[command(flatten)]
    pub server: ServerSettings,
    /// Which broker.
    #[command(flatten)]
    pub broker: BrokerSettings,
    /// The write side.
    #[command(flatten)]
    pub command: CommandSettings,
    /// What the log is compared with before it takes writes.
    #[command(flatten)]
    pub outside: ExternalSealsSettings,
    /// How it meets the public.
    #[command(flatten)]
    pub public: PublicSettings,
    /// Where it says how it is.
    #[command(flatten)]
    pub ops: OpsSettings,
    /// All its listeners.
    #[command(flatten)]
    pub listeners: ListenerSettings,
}

/// The settings of `moa serve query-api`.
#[derive(Clone, Debug, Args)]
pub struct QueryApiSettings {
    /// What every service needs.
    #[command(flatten)]
    pub server: ServerSettings,
    /// Which cache.
    #[command(flatten)]
    pub cache: CacheSettings,
    /// The read side.
    #[command(flatten)]
    pub query: QuerySettings,
    /// How it meets the public.
    #[command(flatten)]
    pub public: PublicSettings,
    /// Where it says how it is.
    #[command(flatten)]
    pub ops: OpsSettings,
    /// All its listeners.
    #[command(flatten)]
    pub listeners: ListenerSettings,
}

/// The settings of `moa serve projector`.
#[derive(Clone, Debug, Args)]
pub struct ProjectorSettings {
    /// What every service needs.
    #[command(flatten)]
    pub server: ServerSettings,
    /// Which broker.
    #[command(flatten)]
    pub broker: BrokerSettings,
    /// Which cache.
    #[command(flatten)]
    pub cache: CacheSettings,
    /// How events gather under load.
    #[command(flatten)]
    pub linger: LingerSettings,
    /// Where it says how it is.
    #[command(flatten)]
    pub ops: OpsSettings,
    /// All its listeners.
    #[command(flatten)]
    pub listeners: ListenerSettings,
}

/// The settings of `moa serve relay`.
#[derive(Clone, Debug, Args)]
pub struct RelaySettings {
    /// What every service needs.
    #[command(flatten)]
    pub server: ServerSettings,
    /// The RabbitMQ to publish to, e.g. amqp://user:password@host
    #[arg(long, value_name = "URL", env = "AMQP_URL", hide_env_values = true)]
    pub amqp_url: Secret,
    /// Where it says how it is.
    #[command(flatten)]
    pub ops: OpsSettings,
    /// All its listeners.
    #[command(flatten)]
    pub listeners: ListenerSettings,
}

/// The settings of `moa serve admin`. Its listener is its ops port too.
#[derive(Clone, Debug, Args)]
pub struct AdminServiceSettings {
    /// What every service needs.
    #[command(flatten)]
    pub server: ServerSettings,
    /// Which cache.
    #[command(flatten)]
    pub cache: CacheSettings,
    /// The zone of the times that go out, and of those that come in without an offset
    #[arg(long, env = "MOA_TIME_ZONE", default_value = "Asia/Seoul")]
    pub time_zone: ServiceTime,
    /// The listener.
    #[command(flatten)]
    pub admin: AdminListenSettings,
    /// What verifications hold the log against.
    #[command(flatten)]
    pub outside: ExternalSealsSettings,
    /// How it treats its connections.
    #[command(flatten)]
    pub listeners: ListenerSettings,
}

/// The settings of `moa serve sealer`.
#[derive(Clone, Debug, Args)]
pub struct SealerSettings {
    /// What every service needs.
    #[command(flatten)]
    pub server: ServerSettings,
    /// The key to seal with: an Ed25519 key in PKCS#8 PEM, as `moa audit key` makes it
    #[arg(long, value_name = "FILE", env = "MOA_SEAL_KEY_FILE")]
    pub seal_key_file: PathBuf,
    /// The file outside the database that seals are added to; each sealer has its own
    #[arg(long, value_name = "FILE", env = "MOA_SEALS_FILE")]
    pub seals_file: PathBuf,
    /// Public keys that earlier seals were made with, files in PEM separated by commas
    #[arg(long, env = "MOA_SEAL_PUBLIC_KEY_FILES", value_delimiter = ',')]
    pub seal_public_key_files: Vec<PathBuf>,
    /// Where it says how it is.
    #[command(flatten)]
    pub ops: OpsSettings,
    /// All its listeners.
    #[command(flatten)]
    pub listeners: ListenerSettings,
}
