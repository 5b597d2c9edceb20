//! The pool.

use crate::answer::is_lost;
use crate::outage::POSTGRESQL;
use crate::{Connection, Transaction};
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt as _, StreamExt as _, TryFutureExt as _, TryStreamExt as _};
use sqlx::postgres::{PgArguments, PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Describe, Either, Error, Execute, Executor, PgPool, Postgres, Result};
use std::time::Duration;

/// How long an answer is waited for where a pool says nothing else.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Where answers may take longer than this, a connection is asked whether it is still there before it is handed out, and is
/// replaced when it is not: what it is asked then may not be heard of for long. Elsewhere that would be a round trip too many.
const UNPROBED_TIMEOUT: Duration = Duration::from_secs(60);

/// A pool of connections on which every call is bounded. Cheap to clone. A statement that runs on the pool itself is
/// answered whole, in memory: for long answers take a [`Connection`].
#[derive(Clone, Debug)]
pub struct Pool {
    inner: PgPool,
    answer_timeout: Duration,
    /// What is asked changes nothing, so it may be asked twice.
    only_reads: bool,
}

/// With a bound of 10 s, for whoever has no statements that may take longer.
impl From<PgPool> for Pool {
    fn from(inner: PgPool) -> Self {
        Self {
            inner,
            answer_timeout: ANSWER_TIMEOUT,
            only_reads: false,
        }
    }
}

impl Pool {
    /// The same connections, where each answer is waited for at most `answer_timeout`. It should be above the server's own
    /// `statement_timeout`, so that the server speaks first.
    #[must_use]
    pub fn with_answer_timeout(self, answer_timeout: Duration) -> Self {
        Self {
            answer_timeout,
            ..self
        }
    }

    /// The same connections for statements that only read: one that is asked on the pool itself and meets a connection that is
    /// lost is asked once more, on a fresh one.
    #[must_use]
    pub fn for_reads(self) -> Self {
        Self {
            only_reads: true,
            ..self
        }
    }

    /// A connection, within the pool's own bound.
    ///
    /// # Errors
    /// When none is free in time, or none can be made.
    pub async fn acquire(&self) -> Result<Connection> {
        let mut connection = self.take().await?;
        if self.answer_timeout <= UNPROBED_TIMEOUT || connection.probe().await.is_ok() {
            return Ok(connection);
        }
        drop(connection);
        self.take().await
    }

    async fn take(&self) -> Result<Connection> {
        let acquired = self.inner.acquire().await.inspect_err(report)?;
        Ok(Connection::new(
            acquired,
            self.inner.clone(),
            self.answer_timeout,
        ))
    }

    /// A transaction. When it meets a connection that is lost, it is begun on a fresh one.
    ///
    /// # Errors
    /// When there is no connection, or the database does not answer in time.
    pub async fn begin(&self) -> Result<Transaction<'static>> {
        self.begin_as(None).await
    }

    /// The same, begun with `statement`.
    ///
    /// # Errors
    /// When there is no connection, or the database refuses the statement or does not answer in time.
    pub async fn begin_with(&self, statement: &'static str) -> Result<Transaction<'static>> {
        self.begin_as(Some(statement)).await
    }

    async fn begin_as(&self, statement: Option<&'static str>) -> Result<Transaction<'static>> {
        match Transaction::on(self.acquire().await?, statement).await {
            Err(error) if is_lost(&error) => {
                Transaction::on(self.acquire().await?, statement).await
            }
            begun => begun,
        }
    }

    pub(crate) fn answer_timeout(&self) -> Duration {
        self.answer_timeout
    }

    /// How many connections there are.
    pub fn size(&self) -> u32 {
        self.inner.size()
    }

    /// How many there may be.
    pub fn max_connections(&self) -> u32 {
        self.inner.options().get_max_connections()
    }

    /// How many of them nobody uses.
    pub fn num_idle(&self) -> usize {
        self.inner.num_idle()
    }

    /// sqlx's pool. Calls on it have no bound: whoever makes one bounds it, and detaches a connection that did not answer.
    pub fn inner(&self) -> &PgPool {
        &self.inner
    }

    /// Closes every connection, once it is given back.
    pub async fn close(&self) {
        self.inner.close().await;
    }

    async fn all(&self, question: Question<'_>) -> Result<Vec<Either<PgQueryResult, PgRow>>> {
        if self.only_reads {
            match self.all_once(question.clone()).await {
                Err(error) if is_lost(&error) => {}
                answered => return answered,
            }
        }
        self.all_once(question).await
    }

    async fn all_once(&self, question: Question<'_>) -> Result<Vec<Either<PgQueryResult, PgRow>>> {
        let mut connection = self.acquire().await?;
        connection.fetch_many(question).try_collect().await
    }

    async fn one(&self, question: Question<'_>) -> Result<Option<PgRow>> {
        if self.only_reads {
            match self.one_once(question.clone()).await {
                Err(error) if is_lost(&error) => {}
                answered => return answered,
            }
        }
        self.one_once(question).await
    }

    async fn one_once(&self, question: Question<'_>) -> Result<Option<PgRow>> {
        self.acquire().await?.fetch_optional(question).await
    }
}

/// A pool whose connections are all in use says the same as one whose server is away, which sqlx tries again until the time is up:
/// only where a connection broke before is it a sign.
fn report(error: &Error) {
    match error {
        Error::PoolTimedOut if !POSTGRESQL.explains_failures() => {}
        Error::PoolTimedOut => POSTGRESQL.failed(error),
        other if is_lost(other) => POSTGRESQL.failed(other),
        _ => {}
    }
}

/// A statement with its values, which can be asked more than once.
#[derive(Clone)]
struct Question<'q> {
    sql: &'q str,
    arguments: Option<PgArguments>,
    persistent: bool,
}

impl<'q> Question<'q> {
    fn of(mut query: impl Execute<'q, Postgres>) -> Result<Self> {
        let arguments = query.take_arguments().map_err(Error::Encode)?;
        Ok(Self {
            sql: query.sql(),
            arguments,
            persistent: query.persistent(),
        })
    }
}

impl<'q> Execute<'q, Postgres> for Question<'q> {
    fn sql(&self) -> &'q str {
        self.sql
    }

    fn statement(&self) -> Option<&PgStatement<'q>> {
        None
    }

    fn take_arguments(
        &mut self,
    ) -> std::result::Result<Option<PgArguments>, sqlx::error::BoxDynError> {
        Ok(self.arguments.take())
    }

    fn persistent(&self) -> bool {
        self.persistent
    }
}

impl<'p> Executor<'p> for &'_ Pool {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let (pool, question) = (self.clone(), Question::of(query));
        let answered = async move { pool.all(question?).await };
        answered
            .map_ok(|all| stream::iter(all.into_iter().map(Ok)))
            .try_flatten_stream()
            .boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let (pool, question) = (self.clone(), Question::of(query));
        async move { pool.one(question?).await }.boxed()
    }

    fn prepare_with<'e, 'q: 'e>(
        self,
        sql: &'q str,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement<'q>>>
    where
        'p: 'e,
    {
        let pool = self.clone();
        async move { pool.acquire().await?.prepare_with(sql, parameters).await }.boxed()
    }

    fn describe<'e, 'q: 'e>(self, sql: &'q str) -> BoxFuture<'e, Result<Describe<Postgres>>>
    where
        'p: 'e,
    {
        let pool = self.clone();
        async move { pool.acquire().await?.describe(sql).await }.boxed()
    }
}
