//! What to tell a caller when the database does not answer.

use edge::Problem;
use sqlx::Error;

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
