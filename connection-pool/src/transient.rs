//! Which errors pass by themselves.

use sqlx::Error;

/// SQLSTATE classes that are transient: insufficient resources, operator intervention (a statement's time-out is one).
const TRANSIENT_CLASSES: [&str; 2] = ["53", "57"];

/// Whether no connection could be had, or the one that was had broke.
pub fn is_unreachable(error: &Error) -> bool {
    matches!(error, Error::Io(_) | Error::PoolTimedOut)
}

/// Whether the database is busy or away, so that the same call may succeed later. Anything else is a bug or a refusal.
pub fn is_transient(error: &Error) -> bool {
    match error {
        Error::PoolClosed => true,
        Error::Database(refused) => {
            refused.code().is_some_and(|code| TRANSIENT_CLASSES.iter().any(|class| code.starts_with(class)))
        }
        _ => is_unreachable(error),
    }
}
