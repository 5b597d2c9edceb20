//! The problem that a caller gets when the database does not answer.

use connection_pool::is_transient;
use connection_pool::outage::POSTGRESQL;
use edge::Problem;
use sqlx::Error;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The least time between two log lines: while the database is away every read would add one.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// `OVERLOADED` when the database is busy or away: a read changed nothing, so the caller may retry. Anything else is a bug.
pub(crate) fn problem(error: Error) -> Problem {
    if !is_transient(&error) {
        return Problem::internal(error);
    }
    // A pool without a free connection is our own load, not the database's fault. An outage has its own lines.
    if !matches!(error, Error::PoolTimedOut | Error::PoolClosed) && !POSTGRESQL.explains_failures()
    {
        log(&error);
    }
    Problem::Overloaded
}

/// Logs at intervals how many reads were not answered.
fn log(error: &Error) {
    static LOGGED: Mutex<(Option<Instant>, u64)> = Mutex::new((None, 0));
    let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
    let (at, reads) = *logged;
    *logged = match at {
        Some(at) if at.elapsed() < LOG_INTERVAL => (Some(at), reads + 1),
        _ => {
            tracing::warn!(%error, reads = reads + 1, "the database did not answer reads");
            (Some(Instant::now()), 0)
        }
    };
}
