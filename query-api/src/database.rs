//! What to tell a caller when the database does not answer.

use edge::Problem;
use sqlx::{Error, PgPool};
use std::time::Duration;

/// How long the database may take to show that it is there.
const ANSWER_TIME_LIMIT: Duration = Duration::from_secs(1);
/// SQLSTATE classes that pass by themselves: insufficient resources, operator intervention (which a statement's time-out
/// counts as).
const PASSING: [&str; 2] = ["53", "57"];

/// Busy or away: a read changed nothing, so the caller may simply come again. Everything else is our fault.
pub(crate) fn problem(error: Error) -> Problem {
    let passes = match &error {
        Error::PoolTimedOut | Error::PoolClosed => return Problem::Overloaded,
        Error::Io(_) => true,
        Error::Database(refused) => {
            refused.code().is_some_and(|code| PASSING.iter().any(|class| code.starts_with(class)))
        }
        _ => false,
    };
    if !passes {
        return Problem::internal(error);
    }
    tracing::warn!(%error, "the database did not answer a read");
    Problem::Overloaded
}

/// Whether the database answers within a second.
pub(crate) async fn answers(pool: &PgPool) -> bool {
    let asked = sqlx::query("select 1").execute(pool);
    matches!(tokio::time::timeout(ANSWER_TIME_LIMIT, asked).await, Ok(Ok(_)))
}
