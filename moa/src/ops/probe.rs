//! Probes whether the database answers, and whether it accepts writes.

use connection_pool::Pool;
use connection_pool::outage::POSTGRESQL;
use event_log::Clause;
use sqlx::{Connection as _, PgConnection, PgExecutor};
use std::time::Duration;
use tokio::time::timeout;

/// How long a free connection of the pool is waited for: past it, requests are refused as well.
const ACQUIRE_TIMEOUT: Duration = Duration::from_millis(500);
/// How long the database may take to answer, on a connection of the pool and then on a new one.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

/// What the database says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
struct Answer {
    is_standby: bool,
    is_read_only: bool,
}

/// What a process needs of its database.
#[derive(Debug)]
pub(super) struct DatabaseProbe {
    pool: Pool,
    answers: Clause,
    /// `None` where nothing is written.
    takes_writes: Option<Clause>,
}

impl DatabaseProbe {
    pub(super) fn new(pool: Pool, answers: Clause, takes_writes: Option<Clause>) -> Self {
        Self {
            pool,
            answers,
            takes_writes,
        }
    }

    /// Asks, within 1.5 s, and fails or clears the clauses.
    pub(super) async fn run(&self) {
        match ask(&self.pool).await {
            Ok(answer) => {
                self.answers.clear();
                self.takes_writes
                    .iter()
                    .for_each(|clause| check_writable(clause, answer));
            }
            Err(reason) if POSTGRESQL.explains_failures() => self.answers.fail_quietly(reason),
            Err(reason) => self.answers.fail(reason),
        }
    }
}

fn check_writable(takes_writes: &Clause, answer: Answer) {
    if answer.is_standby {
        takes_writes
            .fail("the database is a standby: promote it, or name the primary in DATABASE_URL");
    } else if answer.is_read_only {
        takes_writes.fail("the database is read-only: default_transaction_read_only is on");
    } else {
        takes_writes.clear();
    }
}

/// A connection of the pool may be dead without its knowing it, as after a restart of the server; then a new one is asked.
async fn ask(pool: &Pool) -> Result<Answer, String> {
    let acquired = timeout(ACQUIRE_TIMEOUT, pool.acquire()).await;
    let mut pooled = match acquired {
        Ok(Ok(pooled)) => pooled,
        Ok(Err(error)) => return Err(reason(&error)),
        Err(_) => {
            return Err(
                "the database cannot be reached, or no connection of the pool is free".into(),
            );
        }
    };
    if let Ok(Ok(answer)) = timeout(ANSWER_TIMEOUT, state(&mut pooled)).await {
        return Ok(answer);
    }
    pooled.close_on_drop();
    drop(pooled);
    let fresh = async {
        let mut connection = PgConnection::connect_with(&pool.inner().connect_options()).await?;
        let answer = state(&mut connection).await?;
        connection.close().await?;
        Ok(answer)
    };
    let answered = timeout(ANSWER_TIMEOUT, fresh)
        .await
        .unwrap_or(Err(sqlx::Error::PoolTimedOut));
    answered.map_err(|error| reason(&error))
}

/// What to mend, where that is known.
fn reason(error: &sqlx::Error) -> String {
    tls::explain(error).unwrap_or_else(|| error.to_string())
}

async fn state(database: impl PgExecutor<'_>) -> sqlx::Result<Answer> {
    sqlx::query_as(
        "select pg_is_in_recovery() as is_standby, current_setting('transaction_read_only')::boolean as is_read_only",
    )
    .fetch_one(database)
    .await
}
