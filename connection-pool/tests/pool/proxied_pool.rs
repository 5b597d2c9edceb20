//! A database behind a proxy whose connections can fall silent, and a pool on it.

use connection_pool::Pool;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use std::str::FromStr as _;
use std::time::Duration;
use testbed::{Database, Proxy, until};

/// How long an answer is waited for here.
pub const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
/// Connections of the pool.
pub const CONNECTIONS: u32 = 3;

pub struct ProxiedPool {
    pub proxy: Proxy,
    pub pool: Pool,
    /// Past the proxy.
    pub direct: Pool,
    _database: Database,
}

impl ProxiedPool {
    pub async fn new() -> Self {
        let database = Database::fresh().await;
        let options = PgConnectOptions::from_str(database.url()).unwrap();
        let (proxy, options) = Proxy::before_database(options).await;
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(Duration::from_secs(2));
        let pool: PgPool = pool.test_before_acquire(false).connect_lazy_with(options);
        let pool = Pool::from(pool).with_answer_timeout(ANSWER_TIMEOUT);
        let direct = database.pool().await;
        sqlx::query("create table notes (note text not null)")
            .execute(&direct)
            .await
            .unwrap();
        Self {
            proxy,
            pool,
            direct,
            _database: database,
        }
    }

    /// The same, where every connection of the pool stands and is idle.
    pub async fn full() -> Self {
        let test = Self::new().await;
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(test.pool.acquire().await.unwrap());
        }
        drop(connections);
        until("every connection is idle", async || {
            test.pool.num_idle() == CONNECTIONS as usize
        })
        .await;
        test
    }

    /// Every connection that the pool may have can be had, and works: no permit was lost.
    pub async fn is_whole(&self) {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut connection = self.pool.acquire().await.unwrap();
            sqlx::query("select 1")
                .execute(&mut connection)
                .await
                .unwrap();
            connections.push(connection);
        }
    }

    pub async fn notes(&self) -> Vec<String> {
        sqlx::query_scalar("select note from notes order by note")
            .fetch_all(&self.direct)
            .await
            .unwrap()
    }
}
