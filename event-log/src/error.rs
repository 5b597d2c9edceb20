//! What can go wrong with the log, by what the caller should do about it.

use sqlx::postgres::{PgDatabaseError, PgSeverity};

/// A failure of the log itself, never a refusal of a command.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The database did not answer, or said no for reasons of its own. Nothing was written; try again later.
    #[error("the database is not available: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// The answer to a write was lost: it may have happened. Take the turn, read, and see.
    #[error("the answer to an append was lost: {source}")]
    OutcomeUnknown {
        /// The batch's first event: if it is found, all of the batch is there. `None` when it had only keys.
        first: Option<uuid::Uuid>,
        /// How the answer was lost.
        source: sqlx::Error,
    },
    /// The log is not as it must be. Stop and look: nothing that follows could be trusted.
    #[error("the log is broken at partition {partition} position {position}: {reason}")]
    Broken {
        /// Which partition.
        partition: i32,
        /// The first position that is wrong.
        position: i64,
        /// What is wrong with it.
        reason: String,
    },
    /// The partition takes no writes until an operator has agreed, or the clock is back. Nothing was written.
    #[error(transparent)]
    WritesStopped(#[from] crate::WriteStop),
    /// The settings do not fit the log that is there.
    #[error("{0}")]
    Mismatch(String),
}

impl From<sqlx::Error> for LogError {
    fn from(error: sqlx::Error) -> Self {
        Self::Unavailable(error)
    }
}

/// Whether the database itself answered with this error, so that its transaction is known not to have happened.
pub(crate) fn answered(error: &sqlx::Error) -> bool {
    // An ERROR undoes the transaction. FATAL and PANIC end the session and do not say what became of a commit.
    match error {
        sqlx::Error::Database(db) => {
            db.try_downcast_ref::<PgDatabaseError>().is_some_and(|db| db.severity() == PgSeverity::Error)
        }
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Encode(_) => true,
        _ => false,
    }
}
