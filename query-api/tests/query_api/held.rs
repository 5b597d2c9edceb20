//! A read side whose reads are held by a lock on a table.

use crate::read_side::ReadSide;
use connection_pool::{Pool, Transaction};
use sqlx::postgres::PgPoolOptions;
use std::sync::Arc;
use testbed::http::Answer;
use testbed::{soon, until};
use tokio::task::JoinSet;

/// Whoever reads the table waits until the lock is gone.
pub struct Held {
    pub plain: ReadSide,
    pub api: Arc<ReadSide>,
    lock: Option<Transaction<'static>>,
    pub reads: JoinSet<(String, Answer)>,
}

impl Held {
    /// The read side again, with so many connections.
    pub async fn reading(plain: ReadSide, table: &str, connections: u32) -> Self {
        let options = (*plain.pool.inner().connect_options())
            .clone()
            .application_name("held reads");
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .connect_with(options)
            .await
            .map(Pool::from)
            .unwrap();
        let mut lock = plain.pool.begin().await.unwrap();
        let statement = format!("lock table {table} in access exclusive mode");
        sqlx::raw_sql(&statement).execute(&mut *lock).await.unwrap();
        Self {
            api: Arc::new(plain.with_pool(pool)),
            plain,
            lock: Some(lock),
            reads: JoinSet::new(),
        }
    }

    /// The user begins so many reads.
    pub fn reads(&mut self, user: &str, path: &'static str, times: usize) {
        for _ in 0..times {
            let (api, user) = (self.api.clone(), user.to_owned());
            self.reads.spawn(async move {
                let answer = api.get_as(&user, path).await;
                (user, answer)
            });
        }
    }

    /// How many of its connections wait for the lock.
    pub async fn waiting(&self) -> i64 {
        let sql = "select count(*) from pg_stat_activity
                    where application_name = 'held reads' and wait_event_type = 'Lock' and datname = current_database()";
        sqlx::query_scalar(sql)
            .fetch_one(&self.plain.pool)
            .await
            .unwrap()
    }

    pub async fn until_waiting(&self, reads: i64) {
        until("the reads wait for the lock", async || {
            self.waiting().await >= reads
        })
        .await;
    }

    /// Frees the lock.
    pub async fn free(&mut self) {
        self.lock.take().unwrap().rollback().await.unwrap();
    }

    /// What each user is answered, once the lock is free.
    pub async fn answers(&mut self) -> Vec<(String, Answer)> {
        self.free().await;
        soon(std::mem::take(&mut self.reads).join_all()).await
    }
}
