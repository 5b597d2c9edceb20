//! Reading what a client has already seen elsewhere: waiting for a read model to catch up.

use axum::http::HeaderMap;
use connection_pool::Pool;
use edge::{ConsistencyToken, Problem};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{FromRow, Postgres};
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::database;
use crate::shown::{Shown, Stamp};

/// How long a read waits for its read model.
const WAIT: Duration = Duration::from_secs(2);
/// How often the checkpoints are looked at while somebody waits.
const POLL: Duration = Duration::from_millis(10);
/// How many reads may wait for one read model; each poll wakes them all.
const MAX_WAITING: usize = 2_000;

/// A view's statement with its values, ready to run.
pub(crate) type Select<'q> = Query<'q, Postgres, PgArguments>;

/// The state that a read must have reached, if it asked for one.
pub(crate) struct Asked(Option<ConsistencyToken>);

impl Asked {
    /// Whether `positions` are as far; `None` when nothing was asked for.
    pub(crate) fn is_reached_by(&self, positions: &[i64]) -> Option<bool> {
        self.0.as_ref().map(|token| token.is_reached_by(positions))
    }
}

/// One read model and how far it has come.
pub(crate) struct ReadModel {
    consumer: &'static str,
    pool: Pool,
    log_id: Uuid,
    partitions: usize,
    seen: watch::Sender<Vec<i64>>,
    /// Who holds it polls; the others watch. When the holder is done or gone, the next one takes over.
    turn: Mutex<()>,
    places: Semaphore,
}

impl ReadModel {
    pub(crate) fn new(consumer: &'static str, pool: Pool, log_id: Uuid, partitions: usize) -> Self {
        let (seen, _) = watch::channel(vec![0; partitions]);
        Self { consumer, pool, log_id, partitions, seen, turn: Mutex::new(()), places: Semaphore::new(MAX_WAITING) }
    }

    /// What `select` shows, at a state that has reached every token in `headers` if that comes to be within 2 s.
    pub(crate) async fn show<'q, T>(
        &self,
        headers: &HeaderMap,
        select: impl Fn() -> Select<'q>,
    ) -> Result<(Shown<T>, Stamp), Problem>
    where
        T: for<'r> FromRow<'r, PgRow>,
    {
        let asked = self.asked(headers)?;
        let shown = self.show_asked(&asked, select).await?;
        crate::count_read(self.consumer, "postgres");
        let stamp = self.stamp(&asked, &shown);
        Ok((shown, stamp))
    }

    /// What the tokens in `headers` ask for.
    pub(crate) fn asked(&self, headers: &HeaderMap) -> Result<Asked, Problem> {
        ConsistencyToken::asked(headers, self.log_id, self.partitions).map(Asked)
    }

    /// What `select` shows, at a state that has reached what was asked for if that comes to be within 2 s.
    pub(crate) async fn show_asked<'q, T>(
        &self,
        asked: &Asked,
        select: impl Fn() -> Select<'q>,
    ) -> Result<Shown<T>, Problem>
    where
        T: for<'r> FromRow<'r, PgRow>,
    {
        // The state is mostly reached already, so that waiting first would only add a statement.
        let shown = self.read(select()).await?;
        match &asked.0 {
            Some(token) if !token.is_reached_by(&shown.positions) => {
                self.wait(token).await?;
                self.read(select()).await
            }
            _ => Ok(shown),
        }
    }

    /// Which state `shown` is, and whether that is what was asked for.
    pub(crate) fn stamp<T>(&self, asked: &Asked, shown: &Shown<T>) -> Stamp {
        let token = ConsistencyToken::new(self.log_id, shown.positions.clone());
        Stamp { token, reached: asked.is_reached_by(&shown.positions) }
    }

    async fn read<T: for<'r> FromRow<'r, PgRow>>(&self, select: Select<'_>) -> Result<Shown<T>, Problem> {
        let rows = select.fetch_all(&self.pool).await;
        rows.and_then(|rows| Shown::of(&rows)).map_err(database::problem)
    }

    /// Until the token is reached, or in vain for 2 s.
    async fn wait(&self, token: &ConsistencyToken) -> Result<(), Problem> {
        let _place = self.places.try_acquire().map_err(|_| Problem::Overloaded)?;
        let mut seen = self.seen.subscribe();
        // The sender lives as long as we do, so this ends only when it is reached.
        let shown_by_another = async { seen.wait_for(|positions| token.is_reached_by(positions)).await.map(drop) };
        let reached = async {
            tokio::select! {
                _ = shown_by_another => Ok(()),
                _turn = self.turn.lock() => self.poll_until(token).await,
            }
        };
        timeout(WAIT, reached).await.unwrap_or(Ok(())).map_err(database::problem)
    }

    async fn poll_until(&self, token: &ConsistencyToken) -> sqlx::Result<()> {
        loop {
            let positions = self.positions().await?;
            let reached = token.is_reached_by(&positions);
            self.seen.send_if_modified(|seen| std::mem::replace(seen, positions.clone()) != positions);
            if reached {
                return Ok(());
            }
            sleep(POLL).await;
        }
    }

    async fn positions(&self) -> sqlx::Result<Vec<i64>> {
        const CHECKPOINTS: &str = "select partition, position from checkpoints where consumer = $1";
        let checkpoints: Vec<(i32, i64)> =
            sqlx::query_as(CHECKPOINTS).bind(self.consumer).fetch_all(&self.pool).await?;
        let mut positions = vec![0; self.partitions];
        for (partition, position) in checkpoints {
            if let Some(at) = usize::try_from(partition).ok().and_then(|partition| positions.get_mut(partition)) {
                *at = position;
            }
        }
        Ok(positions)
    }
}
