//! Who takes part, and how each is started: on a database of its own, in a process of its own.

use super::base::{Base, BaseShape};
use super::process::{Process, command, moa};
use super::quiet::{Counters, wait_until_applied, wait_until_quiet, wait_until_settled};
use super::sums::Sums;
use super::{Servers, leftovers};
use crate::baselines::LISTENING;
use crate::http::Connection;
use crate::load::invest_request;
use anyhow::Context;
use clap::ValueEnum;
use projector::PROJECTIONS;
use sqlx::PgPool;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// The last line of what Moa prints when it is open.
const MOA_IS_OPEN: &str = "Ctrl-C stops it.";

/// Longer than any round, so that no reservation expires in one.
const RESERVATION_SECONDS: &str = "604800";

/// The consumer that gives settlement its work.
const SETTLEMENT: &str = "open_invest";

/// The services of Moa that an invest passes on its way to a reader, in order.
const SERVICES: [&str; 4] = ["command-api", "relay", "projector", "query-api"];

/// Who invests first at a Moa that has just started.
const FIRST_USER: &str = "bench-first";

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

    async fn start_baseline(
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

    pub(super) async fn start_moa(
        self,
        servers: &Servers,
        database: &str,
        base: &Base,
        seals: &Path,
    ) -> anyhow::Result<Process> {
        let mut serve = command(&moa()?);
        serve
            .arg("serve")
            .env("DATABASE_URL", servers.url(database))
            .env("MOA_LOG", "warn");
        serve.env("MOA_RESERVATION_SECONDS", RESERVATION_SECONDS);
        if self == Self::MoaAccepting {
            serve
                .arg("command-api")
                .envs([listen("COMMAND"), listen("OPS")]);
            // `approve` settles what its process appends, whatever is paused.
            serve
                .env("MOA_PAYMENT_PROVIDER", "http")
                .env("MOA_PAYMENT_URL", NO_PAYMENT_URL);
        } else {
            serve
                .arg("--no-demo")
                .envs([listen("COMMAND"), listen("QUERY"), listen("ADMIN")]);
            serve
                .env("MOA_SEAL_KEY_FILE", &base.seal_key)
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
fn address(process: &Process, listener: &str) -> anyhow::Result<SocketAddr> {
    Ok(process
        .said_after(listener)?
        .trim_start_matches("http://")
        .parse()?)
}

/// On any free port.
fn listen(listener: &str) -> (String, &'static str) {
    (format!("MOA_{listener}_LISTEN"), "127.0.0.1:0")
}

/// One invest of 1 won, which must be accepted.
async fn invest_once(write: SocketAddr, products: &[i64]) -> anyhow::Result<()> {
    let product = *products
        .first()
        .context("there is no product to invest in")?;
    let mut connection = Connection::open(write).await?;
    let answer = connection.ask(&invest_request(product, FIRST_USER)).await?;
    anyhow::ensure!(
        answer.is_acceptance(),
        "the first invest was refused: {}",
        String::from_utf8_lossy(answer.body)
    );
    Ok(())
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
    /// From the start of its process to the first accepted invest, of a Moa.
    pub(crate) first_accept: Option<Duration>,
    /// More processes on its database.
    others: Vec<Process>,
    /// The counters in Redis, of a Moa that has them.
    pub(super) counters: Option<Counters>,
}

impl Arena {
    pub(crate) async fn open(servers: Servers, shape: BaseShape) -> anyhow::Result<Self> {
        let base = Base::prepare(&servers, shape)
            .await
            .context("no database could be prepared")?;
        Ok(Self { servers, base })
    }

    /// Those of `all` whose servers are there.
    pub(crate) fn able(&self, all: &[Contestant]) -> Vec<Contestant> {
        let able =
            |contestant: &&Contestant| !contestant.needs_brokers() || self.servers.has_brokers();
        all.iter().filter(able).copied().collect()
    }

    /// Starts it on a new database, and waits until it stands still.
    pub(crate) async fn start(&self, contestant: Contestant) -> anyhow::Result<Running> {
        let started = self.try_start(contestant).await;
        started.with_context(|| format!("{} does not start", contestant.name()))
    }

    async fn try_start(&self, contestant: Contestant) -> anyhow::Result<Running> {
        let (servers, base) = (&self.servers, &self.base);
        let (database, pool) = self.create_database(contestant).await?;
        if !contestant.is_moa() {
            let process = contestant
                .start_baseline(servers, &database, base.products.len())
                .await?;
            let write = process.said_after(LISTENING)?.parse()?;
            let products = (1..=base.products.len() as i64).collect();
            servers.checkpoint().await?;
            let (first_accept, others) = (None, Vec::new());
            let (read, counters) = (None, None);
            return Ok(Running {
                contestant,
                process,
                write,
                read,
                database,
                pool,
                products,
                first_accept,
                others,
                counters,
            });
        }
        if contestant == Contestant::MoaAccepting {
            pause_settlement(&pool).await?;
        }
        let seals = servers.folder.join(format!("{database}.seals"));
        std::fs::copy(&base.seals, &seals).context("the seals cannot be copied")?;
        let began = Instant::now();
        let process = contestant
            .start_moa(servers, &database, base, &seals)
            .await?;
        let (write, mut read, mut counters) = (address(&process, "write")?, None, None);
        let products = base.products.clone();
        let first_accept = Some(
            invest_once(write, &products)
                .await
                .map(|()| began.elapsed())?,
        );
        if contestant.is_all_of_moa() {
            read = Some(address(&process, "read")?);
            if contestant == Contestant::MoaWithServers {
                counters = Some(Counters::of(&pool, servers).await?);
            }
            wait_until_quiet(&pool, counters.as_ref()).await?;
        }
        servers.checkpoint().await?;
        let others = Vec::new();
        Ok(Running {
            contestant,
            process,
            write,
            read,
            database,
            pool,
            products,
            first_accept,
            others,
            counters,
        })
    }

    /// A new database for a round, and connections to it.
    async fn create_database(&self, contestant: Contestant) -> anyhow::Result<(String, PgPool)> {
        let database = format!("round_{}", Uuid::now_v7().simple());
        let template = contestant.is_moa().then_some(self.base.database.as_str());
        self.servers.create(&database, template).await?;
        let pool = self.servers.pool(&database).await?;
        Ok((database, pool))
    }

    /// Another process of a Moa that accepts alone, on the same log; and where it accepts.
    pub(crate) async fn start_another(&self, running: &mut Running) -> anyhow::Result<SocketAddr> {
        let seals = self
            .servers
            .folder
            .join(format!("{}.seals", running.database));
        let process = running
            .contestant
            .start_moa(&self.servers, &running.database, &self.base, &seals)
            .await?;
        let write = address(&process, "write")?;
        invest_once(write, &running.products).await?;
        running.others.push(process);
        Ok(write)
    }

    /// Two of each service with RabbitMQ and Redis. Writes go to one of the first, reads to one of the last.
    pub(crate) async fn start_services(&self) -> anyhow::Result<Running> {
        let (servers, contestant) = (&self.servers, Contestant::MoaWithServers);
        let (database, pool) = self.create_database(contestant).await?;
        let mut processes = Vec::new();
        for service in SERVICES.iter().flat_map(|service| [service, service]) {
            let mut serve = command(&moa()?);
            serve
                .args(["serve", service])
                .env("DATABASE_URL", servers.url(&database))
                .env("MOA_LOG", "warn");
            serve
                .env("MOA_RESERVATION_SECONDS", RESERVATION_SECONDS)
                .envs(brokers(servers));
            serve.envs(["COMMAND", "QUERY", "OPS"].map(listen));
            let started = Process::start(serve, MOA_IS_OPEN, &log_file(servers)).await;
            processes.push(started.with_context(|| format!("moa serve {service}"))?);
        }
        let read = Some(address(&processes[processes.len() - 1], "read")?);
        let (process, products) = (processes.remove(0), self.base.products.clone());
        let write = address(&process, "write")?;
        let counters = Some(Counters::of(&pool, servers).await?);
        wait_until_applied(&pool, counters.as_ref()).await?;
        servers.checkpoint().await?;
        let (first_accept, others) = (None, processes);
        Ok(Running {
            contestant,
            process,
            write,
            read,
            database,
            pool,
            products,
            first_accept,
            others,
            counters,
        })
    }

    /// A server that gives one answer over HTTP, head and body, to every GET; and where it is.
    pub(crate) async fn serve_recorded(
        &self,
        answer: &[u8],
    ) -> anyhow::Result<(Process, SocketAddr)> {
        let file = self.servers.folder.join("recorded.http");
        std::fs::write(&file, answer)?;
        let mut serve = command(&std::env::current_exe()?);
        serve
            .args(["serve-baseline", "recorded", "--answer"])
            .arg(&file);
        let process =
            Process::start(serve, LISTENING, &self.servers.folder.join("recorded.log")).await?;
        let address = process.said_after(LISTENING)?.parse()?;
        Ok((process, address))
    }

    /// What each place says was invested.
    pub(crate) async fn sums(&self, running: &Running) -> anyhow::Result<Sums> {
        Sums::of(&self.servers, running).await
    }

    /// Waits until all is settled and in all read models, where anything follows an accept, and compares with what was accepted since `before`.
    pub(crate) async fn check_sums(
        &self,
        running: &Running,
        before: &Sums,
        accepted: u64,
        unknown: u64,
    ) -> anyhow::Result<()> {
        if running.contestant.is_all_of_moa() {
            wait_until_settled(&running.pool, running.counters.as_ref()).await?;
        }
        self.sums(running)
            .await?
            .check_grown(before, accepted, unknown)
    }

    /// Stops it and removes everything that it leaves.
    pub(crate) async fn end(&self, running: Running) -> anyhow::Result<()> {
        let Running {
            contestant,
            process,
            others,
            database,
            pool,
            products,
            ..
        } = running;
        for process in others.into_iter().chain([process]) {
            process
                .stop()
                .await
                .with_context(|| format!("{} does not stop", contestant.name()))?;
        }
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
    let paused = sqlx::query(pause)
        .bind(SETTLEMENT)
        .execute(pool)
        .await?
        .rows_affected();
    anyhow::ensure!(paused > 0, "{SETTLEMENT} has no checkpoints to pause");
    Ok(())
}

/// Every consumer with checkpoints in PostgreSQL.
pub(super) fn consumers() -> Vec<&'static str> {
    PROJECTIONS
        .iter()
        .map(|projection| projection.name)
        .chain([SETTLEMENT])
        .collect()
}
