//! What an operator is told whom the database did not answer.

use connection_pool::is_transient;
use connection_pool::outage::POSTGRESQL;
use edge::Problem;

/// To try again where it is away or busy; anything else is our fault.
pub(super) fn problem(error: sqlx::Error) -> Problem {
    if is_transient(&error) {
        if !POSTGRESQL.explains_failures() {
            tracing::warn!(%error, "the database did not answer an operator");
        }
        return Problem::Overloaded;
    }
    Problem::internal(error)
}
