//! The problem that a caller gets when the database does not answer.

use edge::Problem;
use sqlx::Error;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// SQLSTATE classes that are transient: insufficient resources, operator intervention (a statement's time-out is one).
const TRANSIENT_CLASSES: [&str; 2] = ["53", "57"];

/// The least time between two log lines: while the database is away every read would add one.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// `OVERLOADED` when the database is busy or away: a read changed nothing, so the caller may retry. Anything else is a bug.
pub(crate) fn problem(error: Error) -> Problem {
    let is_transient = match &error {
        Error::PoolTimedOut | Error::PoolClosed => return Problem::Overloaded,
        Error::Io(_) => true,
        Error::Database(refused) => {
            refused.code().is_some_and(|code| TRANSIENT_CLASSES.iter().any(|class| code.starts_with(class)))
        }
        _ => false,
    };
    if !is_transient {
        return Problem::internal(error);
    }
    log(&error);
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
