//! Who takes part, and how the process of each is started.

use super::Servers;
use super::process::{Process, command, moa};
use super::quiet::Counters;
use crate::baselines::LISTENING;
use anyhow::Context;
use clap::ValueEnum;
use sqlx::PgPool;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;
use uuid::Uuid;

/// The last line of what Moa prints when it is open.
const MOA_IS_OPEN: &str = "Ctrl-C stops it.";

/// Longer than any round, so that no reservation expires in one.
const RESERVATION_SECONDS: &str = "604800";

/// Where nobody listens. Nobody is asked either, as settlement gets no work.
const NO_PAYMENT_URL: &str = "http://127.0.0.1:9";

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Contestant {
    /// Parses and answers
    Floor,
    /// One multi-row insert a batch, and nothing behind it
    GroupCommit,
    /// `moa serve command-api` alone, without settlement: it accepts, and nothing follows
    MoaAccepting,
    /// A conditional UPDATE and an INSERT
    SqlUpdate,
    /// A lock in Redis, a log row, a message to RabbitMQ
    SeedLock,
    /// cqrs-es and postgres-es as they come
    Stock,
    /// Everything in one process
    Moa,
    /// The same with RabbitMQ and Redis
    MoaWithServers,
}

impl Contestant {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::GroupCommit => "group-commit",
            Self::MoaAccepting => "Moa, accepting alone",
            Self::SqlUpdate => "sql-update",
            Self::SeedLock => "seed-lock",
            Self::Stock => "stock",
            Self::Moa => "Moa",
            Self::MoaWithServers => "Moa with RabbitMQ and Redis",
        }
    }

    pub(crate) fn needs_brokers(self) -> bool {
        matches!(self, Self::SeedLock | Self::MoaWithServers)
    }

    /// Whether all of Moa takes part, settlement and read models too.
    pub(crate) fn is_all_of_moa(self) -> bool {
        matches!(self, Self::Moa | Self::MoaWithServers)
    }

    pub(crate) fn is_moa(self) -> bool {
        self.is_all_of_moa() || self == Self::MoaAccepting
    }

    pub(super) async fn start_baseline(
        self,
        servers: &Servers,
        database: &str,
        products: usize,
    ) -> anyhow::Result<Process> {
        let mut serve = command(&std::env::current_exe()?);
        serve.args([
            "serve-baseline",
            self.name(),
            "--database-url",
            &servers.url(database),
        ]);
        serve.args(["--prefix", database, "--products", &products.to_string()]);
        for (flag, url) in [
            ("--redis-url", &servers.redis),
            ("--amqp-url", &servers.amqp),
        ] {
            serve.args(url.iter().flat_map(|url| [flag, url]));
        }
        Process::start(serve, LISTENING, &log_file(servers)).await
    }

    /// With the key that it seals with, and the file that has its seals.
    pub(super) async fn start_moa(
        self,
        servers: &Servers,
        database: &str,
        (seal_key, seals): (&Path, &Path),
    ) -> anyhow::Result<Process> {
        let mut serve = serve(servers, database)?;
        if self == Self::MoaAccepting {
            serve.arg("command-api");
            // `approve` settles what its process appends, whatever is paused.
            serve
                .env("MOA_PAYMENT_PROVIDER", "http")
                .env("MOA_PAYMENT_URL", NO_PAYMENT_URL);
        } else {
            serve
                .arg("--no-demo")
                .env("MOA_SEAL_KEY_FILE", seal_key)
                .env("MOA_SEALS_FILE", seals);
            serve.env("MOA_OPERATOR_TOKEN", Uuid::new_v4().to_string());
        }
        if self == Self::MoaWithServers {
            serve.envs(brokers(servers));
        }
        Process::start(serve, MOA_IS_OPEN, &log_file(servers))
            .await
            .context("moa serve")
    }
}

/// One service of Moa alone, with RabbitMQ and Redis.
pub(super) async fn start_service(
    servers: &Servers,
    database: &str,
    service: &str,
) -> anyhow::Result<Process> {
    let mut serve = serve(servers, database)?;
    serve.arg(service).envs(brokers(servers));
    Process::start(serve, MOA_IS_OPEN, &log_file(servers))
        .await
        .with_context(|| format!("moa serve {service}"))
}

/// `moa serve`, with what is the same for all.
fn serve(servers: &Servers, database: &str) -> anyhow::Result<Command> {
    let mut serve = command(&moa()?);
    serve
        .arg("serve")
        .env("DATABASE_URL", servers.url(database))
        .env("MOA_LOG", "warn")
        .env("MOA_RESERVATION_SECONDS", RESERVATION_SECONDS);
    // On any free port, whichever of them it has.
    serve.envs(
        ["COMMAND", "QUERY", "ADMIN", "OPS"]
            .map(|listener| (format!("MOA_{listener}_LISTEN"), "127.0.0.1:0")),
    );
    Ok(serve)
}

/// As Moa names them.
fn brokers(servers: &Servers) -> impl Iterator<Item = (&str, &String)> {
    let amqp = servers.amqp.iter().map(|url| ("AMQP_URL", url));
    amqp.chain(servers.redis.iter().map(|url| ("REDIS_URL", url)))
}

fn log_file(servers: &Servers) -> PathBuf {
    servers
        .folder
        .join(format!("{}.log", Uuid::now_v7().simple()))
}

/// Where a process of Moa listens.
pub(super) fn address(process: &Process, listener: &str) -> anyhow::Result<SocketAddr> {
    Ok(process
        .said_after(listener)?
        .trim_start_matches("http://")
        .parse()?)
}

/// A contestant that takes requests.
pub(crate) struct Running {
    pub(crate) contestant: Contestant,
    pub(crate) process: Process,
    pub(crate) write: SocketAddr,
    /// Where products are read, of all of Moa.
    pub(crate) read: Option<SocketAddr>,
    pub(crate) database: String,
    pub(crate) pool: PgPool,
    /// Those to invest in.
    pub(crate) products: Vec<i64>,
    /// From the start of its process to the first accepted invest, of a Moa.
    pub(crate) first_accept: Option<Duration>,
    /// More processes on its database.
    pub(super) others: Vec<Process>,
    /// The counters in Redis, of a Moa that has them.
    pub(super) counters: Option<Counters>,
}

impl Running {
    /// A contestant with one process, that is only written to.
    pub(super) fn new(
        contestant: Contestant,
        (process, write): (Process, SocketAddr),
        (database, pool): (String, PgPool),
        products: Vec<i64>,
    ) -> Self {
        Self {
            contestant,
            process,
            write,
            read: None,
            database,
            pool,
            products,
            first_accept: None,
            others: Vec::new(),
            counters: None,
        }
    }
}
