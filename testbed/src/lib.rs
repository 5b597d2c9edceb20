//! The test kit, one file a subject: a fresh PostgreSQL [`Database`] for every test, with the migrations applied; a [`TestLog`]
//! in it, whose append lock can be held, whose clock can be set, and whose events and hash [`chain`] can be made by hand;
//! [`payments`], a payment provider that can be given every kind of failure; a [`Proxy`] and a Redis to break; [`http`]
//! answers; [`certificates`]; random numbers by seed; ports, folders, and waiting. All of it panics where a test cannot go on, and says why.
//!
//! ```no_run
//! # async fn a_test() {
//! let database = testbed::Database::fresh().await;
//! let pool = database.pool().await;
//! sqlx::query("select 1").execute(&pool).await.unwrap();
//! # }
//! ```
//!
//! The server is the one `DATABASE_URL` names, else [`DEFAULT_URL`]. On it only databases whose name begins with
//! [`PREFIX`] are made and dropped.
//!
//! Words are in `docs/glossary.md`.

mod append_lock;
pub mod certificates;
pub mod chain;
pub mod events;
pub mod http;
pub mod payments;
mod ports;
mod postgres_server;
mod proxy;
mod random;
mod redis_server;
mod server;
mod settable_clock;
mod sse;
mod temp_folder;
mod template;
mod test_log;
mod tls_front;
pub mod values;
mod wait;

use std::time::Duration;

use connection_pool::Pool;
use sqlx::postgres::PgPoolOptions;
use uuid::Uuid;

pub use append_lock::AppendLockHolder;
pub use ports::free_port;
pub use postgres_server::PostgresServer;
pub use proxy::{Fault, FaultKind, Proxy};
pub use random::Random;
pub use redis_server::RedisServer;
use server::Server;
pub use server::{DEFAULT_URL, PREFIX};
pub use sse::{SseEvent, SseReader};
pub use temp_folder::TempFolder;
pub use test_log::{TestLog, poll_heads};
pub use tls_front::TlsFront;
pub use wait::{TEST_TIMEOUT, soon, until};

/// Connections of one test's pool at most: a server allows 100 by default and tests run side by side.
pub const POOL_SIZE: u32 = 10;

/// A test that waits longer for a connection has used up its pool and fails.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// A test that waits longer for an answer waits for one that does not come: most tests are cut sooner.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A database of this test's own; dropped when the value goes, whoever is still connected.
#[derive(Debug)]
pub struct Database {
    server: Server,
    name: String,
    url: String,
    pool: Pool,
}

impl Database {
    /// A new database that holds what the migrations make, and nothing else.
    pub async fn fresh() -> Database {
        Self::try_fresh()
            .await
            .unwrap_or_else(|error| panic!("{error}"))
    }

    async fn try_fresh() -> Result<Database, server::Unusable> {
        let server = Server::from_env()?;
        let mut admin = server.connect().await?;
        template::drop_leftovers_once(&mut admin).await;
        // Version 7, because the time in it tells when a leftover was made.
        let name = format!("{PREFIX}{}", Uuid::now_v7().simple());
        template::copy(&server, &mut admin, &name)
            .await
            .map_err(|error| server.refused(error))?;
        Self::named(server, name)
    }

    fn named(server: Server, name: String) -> Result<Database, server::Unusable> {
        let url = server.url_of(&name);
        let pool = PgPoolOptions::new()
            .max_connections(POOL_SIZE)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy(&url)
            .map_err(|error| server.refused(error))?;
        Ok(Database {
            server,
            name,
            url,
            pool: Pool::from(pool).with_answer_timeout(ANSWER_TIMEOUT),
        })
    }

    /// A new database with all that this one has. Ends the sessions that use this one.
    pub async fn copy(&self) -> Database {
        self.try_copy()
            .await
            .unwrap_or_else(|error| panic!("{error}"))
    }

    async fn try_copy(&self) -> Result<Database, server::Unusable> {
        let mut admin = self.server.connect().await?;
        let end = "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1";
        sqlx::query(end)
            .bind(&self.name)
            .execute(&mut admin)
            .await
            .map_err(|error| self.server.refused(error))?;
        let name = format!("{PREFIX}{}", Uuid::now_v7().simple());
        let copy = format!(r#"create database "{name}" template "{}""#, self.name);
        sqlx::query(&copy)
            .execute(&mut admin)
            .await
            .map_err(|error| self.server.refused(error))?;
        Self::named(self.server.clone(), name)
    }

    /// The database's one pool, of at most [`POOL_SIZE`] connections; every call hands out the same one.
    #[expect(
        clippy::unused_async,
        reason = "callers await it, so that it may connect first one day"
    )]
    pub async fn pool(&self) -> Pool {
        self.pool.clone()
    }

    /// The database's connection URL, for a program under test or a pool of the test's own.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Database {
    /// Blocks for some milliseconds. On a thread of its own, because a test's runtime may be the one that drops it.
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        let dropped = std::thread::spawn(move || server.drop_database_blocking(&name)).join();
        if !matches!(dropped, Ok(Ok(()))) {
            eprintln!(
                "the test database {} is left over; a run an hour from now drops it",
                self.name
            );
        }
    }
}
