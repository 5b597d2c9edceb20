//! The place where contestants run: each on a database of its own.

use super::base::{Base, BaseShape};
use super::contestant::{Contestant, Running, address, start_service};
use super::process::{Process, command};
use super::quiet::{
    Counters, SETTLEMENT, wait_until_applied, wait_until_quiet, wait_until_settled,
};
use super::sums::Sums;
use super::{Servers, leftovers};
use crate::baselines::LISTENING;
use crate::http::Connection;
use crate::load::invest_request;
use anyhow::Context;
use sqlx::PgPool;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;
use uuid::Uuid;

/// The services of Moa that an invest passes on its way to a reader, in order.
const SERVICES: [&str; 4] = ["command-api", "relay", "projector", "query-api"];

/// Who invests first at a Moa that has just started.
const FIRST_USER: &str = "bench-first";

/// The servers, and what every contestant begins with.
pub(crate) struct Arena {
    pub(crate) servers: Servers,
    base: Base,
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
        let running = match contestant.is_moa() {
            true => self.try_start_moa(contestant).await?,
            false => self.try_start_baseline(contestant).await?,
        };
        self.servers.checkpoint().await?;
        Ok(running)
    }

    async fn try_start_baseline(&self, contestant: Contestant) -> anyhow::Result<Running> {
        let (database, pool) = self.create_database(contestant).await?;
        let products = self.base.products.len();
        let process = contestant
            .start_baseline(&self.servers, &database, products)
            .await?;
        let write = process.said_after(LISTENING)?.parse()?;
        let products = (1..=products as i64).collect();
        Ok(Running::new(
            contestant,
            (process, write),
            (database, pool),
            products,
        ))
    }

    async fn try_start_moa(&self, contestant: Contestant) -> anyhow::Result<Running> {
        let (servers, base) = (&self.servers, &self.base);
        let (database, pool) = self.create_database(contestant).await?;
        if contestant == Contestant::MoaAccepting {
            pause_settlement(&pool).await?;
        }
        let seals = self.seals_of(&database);
        std::fs::copy(&base.seals, &seals).context("the seals cannot be copied")?;
        let began = Instant::now();
        let process = contestant
            .start_moa(servers, &database, (&base.seal_key, &seals))
            .await?;
        let write = address(&process, "write")?;
        invest_once(write, &base.products).await?;
        let first_accept = began.elapsed();
        let products = base.products.clone();
        let mut running = Running::new(contestant, (process, write), (database, pool), products);
        running.first_accept = Some(first_accept);
        if contestant.is_all_of_moa() {
            running.read = Some(address(&running.process, "read")?);
            if contestant == Contestant::MoaWithServers {
                running.counters = Some(Counters::of(&running.pool, servers).await?);
            }
            wait_until_quiet(&running.pool, running.counters.as_ref()).await?;
        }
        Ok(running)
    }

    fn seals_of(&self, database: &str) -> PathBuf {
        self.servers.folder.join(format!("{database}.seals"))
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
        let (seal_key, seals) = (&self.base.seal_key, self.seals_of(&running.database));
        let process = running
            .contestant
            .start_moa(&self.servers, &running.database, (seal_key, &seals))
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
        let mut others = Vec::new();
        for service in SERVICES.iter().flat_map(|service| [service, service]) {
            others.push(start_service(servers, &database, service).await?);
        }
        let process = others.remove(0);
        let write = address(&process, "write")?;
        let products = self.base.products.clone();
        let mut running = Running::new(contestant, (process, write), (database, pool), products);
        running.read = Some(address(&others[others.len() - 1], "read")?);
        running.others = others;
        running.counters = Some(Counters::of(&running.pool, servers).await?);
        wait_until_applied(&running.pool, running.counters.as_ref()).await?;
        servers.checkpoint().await?;
        Ok(running)
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
