//! One connection, for several calls.

use crate::answer::{Line, no_answer};
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt as _, StreamExt as _};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Connection as _, Describe, Either, Execute, Executor, PgPool, Postgres, Result};
use std::fmt;
use std::time::Duration;
use tokio::time::timeout;

/// How long a returned connection may take to answer the ping: less than a caller waits for a connection.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a connection may take to answer a call that gives the server no work.
pub(crate) const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection of a [`Pool`](crate::Pool). Each call on it is answered within the pool's bound, or fails with an I/O error; after that
/// no call succeeds. Dropped, it goes back to the pool once it has shown, within a bound, that it is whole, a transaction that
/// was left open rolled back; else it is closed, and its place in the pool is free again either way.
pub struct Connection {
    /// `None` only while it is dropped.
    raw: Option<PoolConnection<Postgres>>,
    pub(crate) line: Line,
    close_on_drop: bool,
    pool: PgPool,
}

impl Connection {
    /// `raw` is of `pool`, and each call on it is answered within `answer_timeout`.
    pub(crate) fn new(
        raw: PoolConnection<Postgres>,
        pool: PgPool,
        answer_timeout: Duration,
    ) -> Self {
        Self {
            raw: Some(raw),
            line: Line::new(answer_timeout),
            close_on_drop: false,
            pool,
        }
    }

    /// Closes the connection when it is dropped, for what must not outlive it: temporary tables, settings.
    pub fn close_on_drop(&mut self) {
        self.close_on_drop = true;
    }

    /// Asks whether there is still somebody at the other end.
    pub(crate) async fn probe(&mut self) -> Result<()> {
        let (raw, line) = self.parts()?;
        line.hear_within(PROBE_TIMEOUT, raw.ping()).await
    }

    /// What calls are made on, and what bounds them.
    pub(crate) fn parts(&mut self) -> Result<(&mut PgConnection, &mut Line)> {
        match self.raw.as_deref_mut() {
            Some(raw) if !self.line.is_lost() => Ok((raw, &mut self.line)),
            _ => Err(no_answer()),
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("line", &self.line)
            .finish_non_exhaustive()
    }
}

/// sqlx gives a connection back by a ping that it waits for without a bound, and its permit would be lost with it.
impl Drop for Connection {
    fn drop(&mut self) {
        let Some(mut raw) = self.raw.take() else {
            return;
        };
        if self.line.is_lost() {
            close_idle(&self.pool);
        }
        if self.line.is_lost() || self.line.unfinished || self.close_on_drop {
            return drop(raw.detach());
        }
        let within = self.line.remaining().unwrap_or(RELEASE_TIMEOUT);
        let (returned, pool) = (raw.return_to_pool(), self.pool.clone());
        tokio::spawn(async move {
            // Given up, it is closed, and its permit is free.
            if timeout(within, returned).await.is_err() {
                close_idle(&pool);
            }
        });
    }
}

/// Closes those that nobody uses: one that came by the same way was lost, so they are suspected. They are made again as
/// they are needed.
fn close_idle(pool: &PgPool) {
    let mut closed = 0_u32;
    while let Some(idle) = pool.try_acquire() {
        drop(idle.detach());
        closed += 1;
    }
    if closed > 0 {
        tracing::debug!(
            closed,
            "a connection to the database was lost; the idle ones beside it were closed"
        );
    }
}

impl<'c> Executor<'c> for &'c mut Connection {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        match self.parts() {
            Ok((raw, line)) => line.hear_all(raw.fetch_many(query)),
            Err(error) => stream::once(async { Err(error) }).boxed(),
        }
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        match self.parts() {
            Ok((raw, line)) => line.hear(raw.fetch_optional(query)).boxed(),
            Err(error) => async { Err(error) }.boxed(),
        }
    }

    fn prepare_with<'e, 'q: 'e>(
        self,
        sql: &'q str,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement<'q>>>
    where
        'c: 'e,
    {
        match self.parts() {
            Ok((raw, line)) => line.hear(raw.prepare_with(sql, parameters)).boxed(),
            Err(error) => async { Err(error) }.boxed(),
        }
    }

    fn describe<'e, 'q: 'e>(self, sql: &'q str) -> BoxFuture<'e, Result<Describe<Postgres>>>
    where
        'c: 'e,
    {
        match self.parts() {
            Ok((raw, line)) => line.hear(raw.describe(sql)).boxed(),
            Err(error) => async { Err(error) }.boxed(),
        }
    }
}
