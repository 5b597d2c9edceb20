//! Errors of the log, by what the caller should do.

use sqlx::postgres::{PgDatabaseError, PgSeverity};

/// A failure of the log itself, never a refusal of a command.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The database did not answer, or refused for reasons of its own. Nothing was written; try again later.
    #[error("the database is not available: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// The answer to a write was lost: it may have committed. Acquire the append lock and read to find out.
    #[error("the answer to an append was lost: {source}")]
    OutcomeUnknown {
        /// The batch's first event: if it is found, all of the batch is there. `None` when it had only keys.
        first: Option<uuid::Uuid>,
        /// How the answer was lost.
        source: sqlx::Error,
    },
    /// The log violates its format at this position. Stop: nothing after it can be trusted.
    #[error("the log is broken at partition {partition} position {position}: {reason}")]
    Broken {
        /// Which partition.
        partition: i32,
        /// The first position that is wrong.
        position: i64,
        /// What is wrong with it.
        reason: String,
    },
    /// The partition takes no writes until an operator accepts the loss, or the clock is right again. Nothing was written.
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

/// Whether the database itself answered with this error, so that the transaction has certainly not committed.
pub(crate) fn answered(error: &sqlx::Error) -> bool {
    // An ERROR rolls the transaction back. FATAL and PANIC end the session and do not tell whether a commit succeeded.
    match error {
        sqlx::Error::Database(db) => db
            .try_downcast_ref::<PgDatabaseError>()
            .is_some_and(|db| db.severity() == PgSeverity::Error),
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Encode(_) => true,
        _ => false,
    }
}
