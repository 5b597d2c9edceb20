//! What an auditor is told whose question could not be answered.

use connection_pool::is_transient;
use connection_pool::outage::POSTGRESQL;
use edge::Problem;
use event_log::LogError;

/// Where the database is away or busy, to try again; where the log is broken, that is the answer.
pub(crate) fn problem(error: impl Into<LogError>) -> Problem {
    match error.into() {
        LogError::Unavailable(error) if is_transient(&error) => {
            if !POSTGRESQL.explains_failures() {
                tracing::warn!(%error, "the database did not answer the audit");
            }
            Problem::Overloaded
        }
        LogError::Unavailable(error) => Problem::internal(error),
        error @ (LogError::Broken { .. } | LogError::Mismatch(_)) => {
            Problem::Conflict(error.to_string())
        }
        error @ (LogError::OutcomeUnknown { .. } | LogError::WritesStopped(_)) => {
            Problem::internal(error)
        }
    }
}
