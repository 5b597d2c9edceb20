//! Read-your-writes: a read waits until its read model has reached the position that the client's token requires.

use axum::http::HeaderMap;
use connection_pool::Pool;
use edge::{ConsistencyToken, Problem};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{FromRow, Postgres};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::time::{sleep, timeout};

use crate::cursor::ListFingerprint;
use crate::database;
use crate::user_reads::UserReads;
use crate::view_rows::{ConsistencyHeaders, ViewRows};
use crate::{ReaderNotice, Settings, WatchedLog};

/// How long a read waits for its read model.
const CONSISTENCY_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the positions are polled while reads wait.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// How many reads may wait for one read model; each poll wakes them all.
const MAX_WAITING_READS: usize = 2_000;

/// A view's statement with its values, ready to run.
pub(crate) type Select<'q> = Query<'q, Postgres, PgArguments>;

/// The position that a read must have reached, if it requires one.
#[derive(Clone)]
pub(crate) struct RequiredPosition(Option<ConsistencyToken>);

impl RequiredPosition {
    /// No position is required.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Whether `positions` have reached it; `None` when none is required.
    pub(crate) fn is_reached_by(&self, positions: &[i64]) -> Option<bool> {
        self.0.as_ref().map(|token| token.is_reached_by(positions))
    }
}

/// A read model and its positions.
pub(crate) struct ReadModel {
    consumer: &'static str,
    pool: Pool,
    log: WatchedLog,
    partitions: usize,
    polled: watch::Sender<Vec<i64>>,
    /// Its holder polls for all waiting reads. When that read ends, the next one takes over.
    poll_leader: Mutex<()>,
    waiting_permits: Semaphore,
    user_reads: Arc<UserReads>,
    readers: ReaderNotice,
}

impl ReadModel {
    pub(crate) fn new(
        consumer: &'static str,
        settings: &Settings,
        user_reads: Arc<UserReads>,
    ) -> Self {
        let (log, partitions) = (settings.log(), settings.partitions);
        let (polled, _) = watch::channel(vec![0; partitions]);
        let (poll_leader, waiting_permits) = (Mutex::new(()), Semaphore::new(MAX_WAITING_READS));
        let (pool, readers) = (settings.pool.clone(), settings.readers.clone());
        Self {
            consumer,
            pool,
            log,
            partitions,
            polled,
            poll_leader,
            waiting_permits,
            user_reads,
            readers,
        }
    }

    /// The rows of `select`, of the user's own, from PostgreSQL, after waiting up to 2 s for the positions of every token in `headers`. Each
    /// statement waits for its turn.
    pub(crate) async fn query<'q, T>(
        &self,
        user_id: &str,
        headers: &HeaderMap,
        select: impl Fn() -> Select<'q>,
    ) -> Result<(ViewRows<T>, ConsistencyHeaders), Problem>
    where
        T: for<'r> FromRow<'r, PgRow>,
    {
        self.query_with(headers, || self.read(Some(user_id), select()))
            .await
    }

    /// As [`ReadModel::query`], of rows that `read` reads now.
    pub(crate) async fn query_with<T, F>(
        &self,
        headers: &HeaderMap,
        read: impl Fn() -> F,
    ) -> Result<(ViewRows<T>, ConsistencyHeaders), Problem>
    where
        F: Future<Output = Result<ViewRows<T>, Problem>>,
    {
        let required = self.required(headers)?;
        let found = self.at_least(&required, read).await?;
        crate::count_read(self.consumer, "postgres");
        let consistency = self.consistency_headers(&required, &found.positions);
        Ok((found, consistency))
    }

    /// What cursors of a user's list in this read model belong to.
    pub(crate) fn list_of(&self, user_id: &str, product_id: Option<i64>) -> ListFingerprint {
        ListFingerprint::new(self.log.log_id, self.consumer, user_id, product_id)
    }

    /// The position that the tokens in `headers` require.
    pub(crate) fn required(&self, headers: &HeaderMap) -> Result<RequiredPosition, Problem> {
        let asked = ConsistencyToken::asked(headers, self.log.now(), self.partitions)?;
        if asked.is_some() {
            (self.readers.0)(self.consumer);
        }
        Ok(RequiredPosition(asked))
    }

    /// The rows of `select`, of nobody's own, after waiting up to 2 s for the required position.
    pub(crate) async fn query_at_least<'q, T>(
        &self,
        required: &RequiredPosition,
        select: impl Fn() -> Select<'q>,
    ) -> Result<ViewRows<T>, Problem>
    where
        T: for<'r> FromRow<'r, PgRow>,
    {
        self.at_least(required, || self.read(None, select())).await
    }

    async fn at_least<T, F>(
        &self,
        required: &RequiredPosition,
        read: impl Fn() -> F,
    ) -> Result<ViewRows<T>, Problem>
    where
        F: Future<Output = Result<ViewRows<T>, Problem>>,
    {
        // The position is mostly reached already: waiting first would only add a statement.
        let found = read().await?;
        match &required.0 {
            Some(token) if !token.is_reached_by(&found.positions) => {
                self.wait(token).await?;
                read().await
            }
            _ => Ok(found),
        }
    }

    /// The headers that say at which positions an answer is, and whether the required one is reached.
    pub(crate) fn consistency_headers(
        &self,
        required: &RequiredPosition,
        positions: &[i64],
    ) -> ConsistencyHeaders {
        let token = ConsistencyToken::new(self.log.now(), positions.to_vec());
        ConsistencyHeaders {
            token,
            reached: required.is_reached_by(positions),
        }
    }

    /// A user's own are read when it is their turn.
    async fn read<T: for<'r> FromRow<'r, PgRow>>(
        &self,
        user_id: Option<&str>,
        select: Select<'_>,
    ) -> Result<ViewRows<T>, Problem> {
        let _turn = match user_id {
            Some(user_id) => Some(self.user_reads.turn(user_id).await?),
            None => None,
        };
        let rows = select.fetch_all(&self.pool).await;
        rows.and_then(|rows| ViewRows::of(&rows))
            .map_err(database::problem)
    }

    /// Returns when the token is reached, or after 2 s.
    async fn wait(&self, token: &ConsistencyToken) -> Result<(), Problem> {
        let _permit = self
            .waiting_permits
            .try_acquire()
            .map_err(|_| Problem::Overloaded)?;
        let mut polled = self.polled.subscribe();
        // The sender lives as long as `self`, so this ends only when the token is reached.
        let polled_by_another = async {
            polled
                .wait_for(|positions| token.is_reached_by(positions))
                .await
                .map(drop)
        };
        let reached = async {
            tokio::select! {
                _ = polled_by_another => Ok(()),
                _leader = self.poll_leader.lock() => self.poll_until(token).await,
            }
        };
        timeout(CONSISTENCY_TIMEOUT, reached)
            .await
            .unwrap_or(Ok(()))
            .map_err(database::problem)
    }

    /// Its positions now, for somebody who follows them; reads that wait for them learn of it.
    pub(crate) async fn poll(&self) -> sqlx::Result<Vec<i64>> {
        (self.readers.0)(self.consumer);
        let positions = self.positions().await?;
        self.polled
            .send_if_modified(|polled| std::mem::replace(polled, positions.clone()) != positions);
        Ok(positions)
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    async fn poll_until(&self, token: &ConsistencyToken) -> sqlx::Result<()> {
        loop {
            if token.is_reached_by(&self.poll().await?) {
                return Ok(());
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    async fn positions(&self) -> sqlx::Result<Vec<i64>> {
        const POSITIONS: &str = concat!("select ", positions_of!("$2"));
        let partitions = i32::try_from(self.partitions).unwrap_or(i32::MAX);
        sqlx::query_scalar(POSITIONS)
            .bind(partitions)
            .bind(self.consumer)
            .fetch_one(&self.pool)
            .await
    }
}
