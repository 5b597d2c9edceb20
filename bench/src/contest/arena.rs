//! Who takes part, and how each is started: on a database of its own, in a process of its own.

use super::base::{Base, BaseShape};
use super::process::{Process, command, moa};
use super::quiet::{Counters, wait_until_quiet, wait_until_settled};
use super::sums::Sums;
use super::{Servers, leftovers};
use crate::baselines::LISTENING;
use anyhow::Context;
use clap::ValueEnum;
use projector::PROJECTIONS;
use sqlx::PgPool;
use std::net::SocketAddr;
use std::path::Path;
use uuid::Uuid;

/// The last line of what Moa prints when it is open.
const MOA_IS_OPEN: &str = "Ctrl-C stops it.";

/// Longer than any round, so that no reservation expires in one.
const RESERVATION_SECONDS: &str = "604800";

/// The consumer that gives settlement its work.
const SETTLEMENT: &str = "open_invest";

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

    async fn start_baseline(self, servers: &Servers, database: &str, products: usize) -> anyhow::Result<Process> {
        let mut serve = command(&std::env::current_exe()?);
        serve.args(["serve-baseline", self.name(), "--database-url", &servers.url(database)]);
        serve.args(["--prefix", database, "--products", &products.to_string()]);
        for (flag, url) in [("--redis-url", &servers.redis), ("--amqp-url", &servers.amqp)] {
            serve.args(url.iter().flat_map(|url| [flag, url]));
        }
        Process::start(serve, LISTENING, &servers.folder.join(format!("{database}.log"))).await
    }

    pub(super) async fn start_moa(
        self,
        servers: &Servers,
        database: &str,
        base: &Base,
        seals: &Path,
    ) -> anyhow::Result<Process> {
        let mut serve = command(&moa()?);
        serve.arg("serve").env("DATABASE_URL", servers.url(database)).env("MOA_LOG", "warn");
        serve.env("MOA_RESERVATION_SECONDS", RESERVATION_SECONDS);
        let listen = |listener: &str| (format!("MOA_{listener}_LISTEN"), "127.0.0.1:0");
        if self == Self::MoaAccepting {
            serve.arg("command-api").envs([listen("COMMAND"), listen("OPS")]);
            // `approve` settles what its process appends, whatever is paused.
            serve.env("MOA_PAYMENT_PROVIDER", "http").env("MOA_PAYMENT_URL", NO_PAYMENT_URL);
        } else {
            serve.arg("--no-demo").envs([listen("COMMAND"), listen("QUERY"), listen("ADMIN")]);
            serve.env("MOA_SEAL_KEY_FILE", &base.seal_key).env("MOA_SEALS_FILE", seals);
            serve.env("MOA_OPERATOR_TOKEN", Uuid::new_v4().to_string());
        }
        if self == Self::MoaWithServers {
            serve.envs(servers.amqp.iter().map(|url| ("AMQP_URL", url)));
            serve.envs(servers.redis.iter().map(|url| ("REDIS_URL", url)));
        }
        Process::start(serve, MOA_IS_OPEN, &servers.folder.join(format!("{database}.log"))).await.context("moa serve")
    }
}

/// The servers, and what every contestant begins with.
pub(crate) struct Arena {
    pub(crate) servers: Servers,
    base: Base,
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
    /// The counters in Redis, of a Moa that has them.
    pub(super) counters: Option<Counters>,
}

impl Arena {
    pub(crate) async fn open(servers: Servers, shape: BaseShape) -> anyhow::Result<Self> {
        let base = Base::prepare(&servers, shape).await.context("no database could be prepared")?;
        Ok(Self { servers, base })
    }

    /// Those of `all` whose servers are there.
    pub(crate) fn able(&self, all: &[Contestant]) -> Vec<Contestant> {
        let able = |contestant: &&Contestant| !contestant.needs_brokers() || self.servers.has_brokers();
        all.iter().filter(able).copied().collect()
    }

    /// Starts it on a new database, and waits until it stands still.
    pub(crate) async fn start(&self, contestant: Contestant) -> anyhow::Result<Running> {
        let started = self.try_start(contestant).await;
        started.with_context(|| format!("{} does not start", contestant.name()))
    }

    async fn try_start(&self, contestant: Contestant) -> anyhow::Result<Running> {
        let database = format!("round_{}", Uuid::now_v7().simple());
        let (servers, base) = (&self.servers, &self.base);
        let template = contestant.is_moa().then_some(base.database.as_str());
        servers.create(&database, template).await?;
        let pool = servers.pool(&database).await?;
        if !contestant.is_moa() {
            let process = contestant.start_baseline(servers, &database, base.products.len()).await?;
            let write = process.said_after(LISTENING)?.parse()?;
            let products = (1..=base.products.len() as i64).collect();
            servers.checkpoint().await?;
            return Ok(Running { contestant, process, write, read: None, database, pool, products, counters: None });
        }
        if contestant == Contestant::MoaAccepting {
            pause_settlement(&pool).await?;
        }
        let seals = servers.folder.join(format!("{database}.seals"));
        std::fs::copy(&base.seals, &seals).context("the seals cannot be copied")?;
        let process = contestant.start_moa(servers, &database, base, &seals).await?;
        let at = |listener| anyhow::Ok(process.said_after(listener)?.trim_start_matches("http://").parse()?);
        let (write, mut read, mut counters) = (at("write")?, None, None);
        if contestant.is_all_of_moa() {
            read = Some(at("read")?);
            if contestant == Contestant::MoaWithServers {
                counters = Some(Counters::of(&pool, servers).await?);
            }
            wait_until_quiet(&pool, counters.as_ref()).await?;
        }
        servers.checkpoint().await?;
        let products = base.products.clone();
        Ok(Running { contestant, process, write, read, database, pool, products, counters })
    }

    /// A server that gives one answer over HTTP, head and body, to every GET; and where it is.
    pub(crate) async fn serve_recorded(&self, answer: &[u8]) -> anyhow::Result<(Process, SocketAddr)> {
        let file = self.servers.folder.join("recorded.http");
        std::fs::write(&file, answer)?;
        let mut serve = command(&std::env::current_exe()?);
        serve.args(["serve-baseline", "recorded", "--answer"]).arg(&file);
        let process = Process::start(serve, LISTENING, &self.servers.folder.join("recorded.log")).await?;
        let address = process.said_after(LISTENING)?.parse()?;
        Ok((process, address))
    }

    /// What each place says was invested.
    pub(crate) async fn sums(&self, running: &Running) -> anyhow::Result<Sums> {
        Sums::of(&self.servers, running).await
    }

    /// Waits until all is settled and in all read models, and compares with what was accepted since `before`.
    pub(crate) async fn check_sums(
        &self,
        running: &Running,
        before: &Sums,
        accepted: u64,
        unknown: u64,
    ) -> anyhow::Result<()> {
        wait_until_settled(&running.pool, running.counters.as_ref()).await?;
        self.sums(running).await?.check_grown(before, accepted, unknown)
    }

    /// Stops it and removes everything that it leaves.
    pub(crate) async fn end(&self, running: Running) -> anyhow::Result<()> {
        let Running { contestant, process, database, pool, products, .. } = running;
        process.stop().await.with_context(|| format!("{} does not stop", contestant.name()))?;
        leftovers::remove(&self.servers, contestant, &database, &pool, &products).await?;
        pool.close().await;
        self.servers.discard(&database).await
    }

    /// The same for all that was prepared.
    pub(crate) async fn close(self) -> anyhow::Result<Servers> {
        self.servers.discard(&self.base.database).await?;
        Ok(self.servers)
    }
}

/// As an operator pauses a projection.
async fn pause_settlement(pool: &PgPool) -> anyhow::Result<()> {
    let pause = "update checkpoints set paused = true where consumer = $1";
    let paused = sqlx::query(pause).bind(SETTLEMENT).execute(pool).await?.rows_affected();
    anyhow::ensure!(paused > 0, "{SETTLEMENT} has no checkpoints to pause");
    Ok(())
}

/// Every consumer with checkpoints in PostgreSQL.
pub(super) fn consumers() -> Vec<&'static str> {
    PROJECTIONS.iter().map(|projection| projection.name).chain([SETTLEMENT]).collect()
}
