//! The servers that all contestants share: one private PostgreSQL with the settings of Moa's own, a RabbitMQ and a Redis.

use anyhow::Context;
use lapin::ConnectionProperties;
use moa::postgres::{Embedded, Options, default_data_dir};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, PgPool};
use std::time::Duration;
use testbed::TempFolder;

/// Where they are looked for when the environment names none.
const DEFAULT_AMQP_URL: &str = "amqp://guest:guest@127.0.0.1:5672/%2f";
const DEFAULT_REDIS_URL: &str = "redis://127.0.0.1:6379";

/// A server that takes longer to answer counts as absent.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections of this process to a contestant's database: one polls, one reads sums.
const CONNECTIONS: u32 = 3;

/// A smaller database is copied through the WAL, which waits for the disk once and not for each file, and stays when a round ends,
/// as dropping it waits for a checkpoint.
const SMALL_DATABASE_BYTES: i64 = 32 * 1024 * 1024;

/// Running servers. PostgreSQL goes, with its data, when the value goes or this process ends; the others stay.
pub(crate) struct Servers {
    postgres: Embedded,
    /// The process whose children serve the connections.
    pub(crate) postmaster: u32,
    pub(crate) amqp: Option<String>,
    pub(crate) redis: Option<String>,
    /// For keys, seals and logs.
    pub(crate) folder: TempFolder,
    /// The machine's load averages before anything was measured.
    pub(crate) load_before: String,
}

impl Servers {
    /// Starts a new PostgreSQL whose data is in the folder for temporary files, and looks for the others.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let load_before = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let options = Options {
            data_dir: default_data_dir(),
            ephemeral: true,
        };
        let postgres = Embedded::start(&options).await?;
        let mut session = postgres.connect_options().connect().await?;
        let data: String = sqlx::query_scalar("show data_directory")
            .fetch_one(&mut session)
            .await?;
        let pid_file = std::fs::read_to_string(format!("{data}/postmaster.pid"))?;
        let postmaster = pid_file
            .lines()
            .next()
            .and_then(|pid| pid.trim().parse().ok());
        let postmaster = postmaster.context("PostgreSQL does not say which process it is")?;
        let (amqp, redis, folder) = (amqp().await, redis().await, TempFolder::new("bench"));
        let servers = Self {
            postgres,
            postmaster,
            amqp,
            redis,
            folder,
            load_before,
        };
        for (server, url) in [("RabbitMQ", &servers.amqp), ("Redis", &servers.redis)] {
            if url.is_none() {
                println!(
                    "There is no {server}: who needs one does not take part. Set AMQP_URL and REDIS_URL."
                );
            }
        }
        Ok(servers)
    }

    /// Whether those are there that some contestants need.
    pub(crate) fn has_brokers(&self) -> bool {
        self.amqp.is_some() && self.redis.is_some()
    }

    fn options(&self, database: &str) -> PgConnectOptions {
        self.postgres
            .connect_options()
            .database(database)
            .disable_statement_logging()
    }

    /// The address of a database.
    pub(crate) fn url(&self, database: &str) -> String {
        self.options(database).to_url_lossy().into()
    }

    pub(super) async fn pool(&self, database: &str) -> anyhow::Result<PgPool> {
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS);
        Ok(pool.connect_with(self.options(database)).await?)
    }

    async fn session(&self) -> anyhow::Result<PgConnection> {
        Ok(self.options("postgres").connect().await?)
    }

    /// A new database, empty or a copy.
    pub(crate) async fn create(&self, name: &str, template: Option<&str>) -> anyhow::Result<()> {
        let template = template.unwrap_or("template1");
        let mut session = self.session().await?;
        let strategy = if is_small(&mut session, template).await? {
            "wal_log"
        } else {
            "file_copy"
        };
        let statement = format!("create database {name} template {template} strategy {strategy}");
        sqlx::raw_sql(&statement)
            .execute(&mut session)
            .await
            .with_context(|| statement.clone())?;
        Ok(session.close().await?)
    }

    /// Removes a database that takes up much; a small one goes with the server.
    pub(crate) async fn discard(&self, name: &str) -> anyhow::Result<()> {
        let mut session = self.session().await?;
        if !is_small(&mut session, name).await? {
            sqlx::raw_sql(&format!("drop database {name} with (force)"))
                .execute(&mut session)
                .await?;
        }
        Ok(session.close().await?)
    }

    /// So that every round begins with nothing left to write.
    pub(super) async fn checkpoint(&self) -> anyhow::Result<()> {
        let mut session = self.session().await?;
        sqlx::raw_sql("checkpoint").execute(&mut session).await?;
        Ok(session.close().await?)
    }

    /// The server's version and the settings that cost or save something.
    pub(crate) async fn describe(&self) -> anyhow::Result<Vec<(String, String)>> {
        let mut session = self.session().await?;
        let settings = sqlx::query_as(
            "select name, case when unit is null then setting else setting || ' x ' || unit end from pg_settings
              where name in ('server_version', 'fsync', 'synchronous_commit', 'full_page_writes', 'shared_buffers',
                             'max_wal_size', 'checkpoint_timeout', 'wal_compression') order by name",
        );
        Ok(settings.fetch_all(&mut session).await?)
    }

    /// Where PostgreSQL's data is.
    pub(crate) async fn data_directory(&self) -> anyhow::Result<String> {
        let mut session = self.session().await?;
        Ok(sqlx::query_scalar("show data_directory")
            .fetch_one(&mut session)
            .await?)
    }

    /// Stops PostgreSQL and removes its data.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.postgres.stop().await
    }
}

async fn is_small(session: &mut PgConnection, database: &str) -> anyhow::Result<bool> {
    let bytes: i64 = sqlx::query_scalar("select pg_database_size($1)")
        .bind(database)
        .fetch_one(session)
        .await?;
    Ok(bytes < SMALL_DATABASE_BYTES)
}

async fn amqp() -> Option<String> {
    let url = std::env::var("AMQP_URL").unwrap_or_else(|_| DEFAULT_AMQP_URL.into());
    let connecting = lapin::Connection::connect(&url, ConnectionProperties::default());
    let connection = tokio::time::timeout(CONNECT_TIMEOUT, connecting)
        .await
        .ok()?
        .ok()?;
    connection.close(200, "".into()).await.ok()?;
    Some(url)
}

async fn redis() -> Option<String> {
    let url = std::env::var("REDIS_URL").unwrap_or_else(|_| DEFAULT_REDIS_URL.into());
    let client = redis::Client::open(url.as_str()).ok()?;
    let connecting = client.get_multiplexed_async_connection();
    tokio::time::timeout(CONNECT_TIMEOUT, connecting)
        .await
        .ok()?
        .ok()?;
    Some(url)
}
